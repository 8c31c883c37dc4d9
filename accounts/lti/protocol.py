"""pylti1p3 with our state, our HTTP and the checks it leaves to its caller."""

import hashlib
import hmac
import logging
import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt
from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from pylti1p3.cookie import CookieService
from pylti1p3.deep_link import DeepLink
from pylti1p3.deep_link_resource import DeepLinkResource
from pylti1p3.exception import LtiException, OIDCException
from pylti1p3.message_launch import MessageLaunch
from pylti1p3.oidc_login import OIDCLogin
from pylti1p3.redirect import Redirect
from pylti1p3.registration import Registration
from pylti1p3.request import Request
from pylti1p3.service_connector import ServiceConnector
from pylti1p3.session import SessionService
from pylti1p3.tool_config import ToolConfDict

from accounts.lti.http import PlatformUnreachable, Session, fetch
from accounts.lti.keys import unseal
from accounts.models import LtiKey, LtiLaunch, LtiPlatform

log = logging.getLogger(__name__)
_CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
_DEEP = "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"
_NRPS = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
RESOURCE, DEEP_LINKING = "LtiResourceLinkRequest", "LtiDeepLinkingRequest"
ALGORITHM = "RS256"
# Clocks differ.
LEEWAY_SECONDS = 30
KEYS_CACHED_SECONDS = 3600
# A key set is asked again for a key it doesn't hold at most this often.
KEYS_AGAIN_SECONDS = 30


class LaunchRefused(Exception):
    """A launch that can't be trusted. `code` says what was wrong, for logs and for who sets a platform up."""

    def __init__(self, code: str, deployment: str = "") -> None:
        super().__init__(code)
        self.code = code
        # Named by a launch whose signature was good.
        self.deployment = deployment


@dataclass(frozen=True)
class Claims:
    """What a checked launch says. Texts are as the platform sent them, cut to what we keep."""

    sub: str
    message_type: str
    deployment_id: str
    roles: list[str]
    name: str = ""
    email: str = ""
    context_id: str = ""
    context_title: str = ""
    context_label: str = ""
    memberships_url: str = ""
    thread: int = 0
    return_url: str = ""
    deep_link_data: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def hashed(text: str) -> str:
    """Return what is kept of a state, a nonce or a browser's cookie."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def usable_url(url: object, length: int = 1000) -> str:
    """Return an address of a platform when it may be used: over TLS, outside tests and trials; else an empty text."""
    if not isinstance(url, str) or len(url) > length or re.search(r"[\s\x00-\x1f\x7f;,'\"<>\\]", url):
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    schemes = ("https", "http") if settings.LTI_ALLOW_HTTP else ("https",)
    return url if parts.scheme in schemes and parts.hostname and "@" not in parts.netloc else ""


def origin(url: str) -> str:
    """Return the scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class _Parameters(Request):
    def __init__(self, request: HttpRequest) -> None:
        self.sent = request.POST if request.method == "POST" else request.GET
        self.secure = request.is_secure()

    @property
    def session(self) -> None:
        raise NotImplementedError("our state lies in LtiLaunch")

    def is_secure(self) -> bool:
        return self.secure

    def get_param(self, key: str) -> str:
        return self.sent.get(key, "").replace("\x00", "")


class _States(SessionService):
    """Keeps nothing: remembers the nonce that was made, or knows the one that is expected."""

    def __init__(self, nonce_hash: str = "") -> None:
        self.nonce = ""
        self.nonce_hash = nonce_hash

    def save_nonce(self, nonce: str) -> None:
        self.nonce = nonce

    def check_nonce(self, nonce: str) -> bool:
        return isinstance(nonce, str) and hmac.compare_digest(hashed(nonce), self.nonce_hash)

    def check_state_is_valid(self, state: str, id_token_hash: str) -> bool:
        return False  # a launch that was taken once is never taken again

    def save_launch_data(self, key: str, jwt_body: Any) -> None:
        """Keep nothing: an action does."""

    def set_state_valid(self, state: str, id_token_hash: str) -> None:
        """Keep nothing: see `check_state_is_valid`."""


class _Browser(CookieService):
    """The cookie was compared, and the state used up, before pylti1p3 looks at it."""

    def __init__(self, state: str = "") -> None:
        self.state = state

    def get_cookie(self, name: str) -> str | None:
        return self.state if name == self.state else None

    def set_cookie(self, name: str, value: str | int, exp: int | None = 3600) -> None:
        self.state = name


class _Address(Redirect[str]):
    def __init__(self, url: str) -> None:
        self.url = url

    def do_redirect(self) -> str:
        return self.url

    do_js_redirect = do_redirect

    def set_redirect_url(self, location: str) -> None:
        self.url = location

    def get_redirect_url(self) -> str:
        return self.url


class _Login(OIDCLogin[Any, Any, Any, Any, str]):
    def get_redirect(self, url: str) -> _Address:
        return _Address(url)


@dataclass(frozen=True)
class Started:
    """Where the browser goes to be told who it is, and what it must bring back."""

    url: str
    state: str
    nonce: str


def start(request: HttpRequest, platform: LtiPlatform, launch_url: str) -> Started:
    """Answer a platform's login initiation. Raises `LaunchRefused`."""
    states, browser = _States(), _Browser()
    try:
        url: str = _Login(_Parameters(request), _conf(platform), states, browser).redirect(launch_url)
    except OIDCException:
        raise LaunchRefused("login") from None
    if "?" in platform.authorization_url:  # pylti1p3 begins a second query
        url = url.replace(f"{platform.authorization_url}?", f"{platform.authorization_url}&", 1)
    return Started(url, browser.state, states.nonce)


class _Launch(MessageLaunch[Any, Any, Any, Any]):
    def __init__(self, request: HttpRequest, launch: LtiLaunch, state: str) -> None:
        self.platform = launch.platform
        super().__init__(
            _Parameters(request), _conf(launch.platform), _States(launch.nonce_hash), _Browser(state),
            requests_session=Session(),
        )  # fmt: skip

    def _get_request_param(self, key: str) -> str:
        return str(self._request.get_param(key))

    def get_client_id(self) -> str:
        """Return our client ID when the token is meant for us, among others too."""
        audience = self._get_jwt_body().get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        return self.platform.client_id if self.platform.client_id in audiences else ""

    def fetch_public_key(self, key_set_url: str) -> Any:
        return key_set(key_set_url, str(self._jwt.get("header", {}).get("kid", "")))

    def validate_jwt_format(self) -> "_Launch":
        super().validate_jwt_format()
        # The algorithm is ours to say, not the token's.
        if self._jwt.get("header", {}).get("alg") != ALGORITHM:
            raise LaunchRefused("algorithm")
        if not isinstance(self._jwt.get("body"), dict):
            raise LaunchRefused("format")
        return self

    def validate_registration(self) -> "_Launch":
        if self._jwt["body"].get("iss") != self.platform.issuer:
            raise LaunchRefused("issuer")
        super().validate_registration()
        return self

    def validate_jwt_signature(self) -> "_Launch":
        """Check signature, times and audience. pylti1p3 checks no audience, and times only where they are given."""
        public_key, _ = self.get_public_key()
        body = jwt.decode(
            self._get_id_token(),
            public_key,
            algorithms=[ALGORITHM],
            audience=self.platform.client_id,
            issuer=self.platform.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
        )
        several = isinstance(body["aud"], list) and len(body["aud"]) > 1
        if (several or "azp" in body) and body.get("azp") != self.platform.client_id:
            raise LaunchRefused("audience")
        self._jwt["body"] = body
        return self


# What pylti1p3 was doing when it refused, by the name of the step.
_STEPS = {
    "validate_state": "state", "validate_jwt_format": "format", "validate_nonce": "nonce",
    "validate_registration": "registration", "validate_jwt_signature": "signature",
    "validate_deployment": "deployment", "validate_message": "message",
}  # fmt: skip


def check(request: HttpRequest, launch: LtiLaunch, state: str) -> Claims:
    """Return what a launch says, once everything about it is checked. Raises `LaunchRefused`.

    The caller has compared the browser's cookie and used the state up.
    """
    message = _Launch(request, launch, state)
    message.set_auto_validation(enable=False)
    for step, code in _STEPS.items():
        try:
            getattr(message, step)()
        except jwt.ExpiredSignatureError:
            raise LaunchRefused("expired") from None
        except jwt.ImmatureSignatureError:
            raise LaunchRefused("future") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise LaunchRefused("audience") from None
        except PlatformUnreachable:
            raise LaunchRefused("keys") from None
        except (LtiException, jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError):
            body = message.get_launch_data() if code == "deployment" else {}
            raise LaunchRefused(code, deployment=_text(body.get(f"{_CLAIM}deployment_id"), 255)) from None
    return _claims(message.get_launch_data())


def _claims(body: Any) -> Claims:
    """Read the claims we use; anything of an unexpected shape counts as absent, or refuses where it is needed."""
    kind = body.get(f"{_CLAIM}message_type")
    if kind not in (RESOURCE, DEEP_LINKING):
        raise LaunchRefused("message")
    sub = body["sub"]
    if not isinstance(sub, str) or not 0 < len(sub) <= 255 or "\x00" in sub:
        raise LaunchRefused("subject")
    roles = body.get(f"{_CLAIM}roles")
    context, custom = _object(body.get(f"{_CLAIM}context")), _object(body.get(f"{_CLAIM}custom"))
    settings_, service = _object(body.get(_DEEP)), _object(body.get(_NRPS))
    thread = _text(custom.get("thread"), 12)
    return_url = usable_url(settings_.get("deep_link_return_url"))
    if kind == DEEP_LINKING and not return_url:
        raise LaunchRefused("message")
    named = " ".join(_text(body.get(part), 80) for part in ("given_name", "family_name")).strip()
    return Claims(
        sub=sub,
        message_type=kind,
        deployment_id=body[f"{_CLAIM}deployment_id"],
        roles=[role[:255] for role in roles if isinstance(role, str)][:50] if isinstance(roles, list) else [],
        name=(_text(body.get("name"), 80) or named)[:80].strip(),
        email=_text(body.get("email"), 254).lower(),
        context_id=_text(context.get("id"), 255),
        context_title=_text(context.get("title"), 200),
        context_label=_text(context.get("label"), 30),
        memberships_url=usable_url(service.get("context_memberships_url")),
        thread=int(thread) if re.fullmatch(r"[1-9][0-9]{0,8}", thread) else 0,
        return_url=return_url,
        deep_link_data=_text(settings_.get("data"), 20_000, strip=False),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, length: int, *, strip: bool = True) -> str:
    if not isinstance(value, str) or "\x00" in value:
        return ""
    return (" ".join(value.split()) if strip else value)[:length]


def key_set(url: str, kid: str) -> dict[str, Any]:
    """Return a platform's key set, from the cache unless it lacks the key: keys are replaced without notice."""
    name = f"lti-keys:{hashed(url)}"
    found: dict[str, Any] | None = cache.get(name)
    if found is not None and (_has(found, kid) or not cache.add(f"{name}:asked", 1, KEYS_AGAIN_SECONDS)):
        return found
    reply = fetch("GET", url, headers={"Accept": "application/json"})
    body = reply.json() if reply.ok else None
    if not isinstance(body, dict) or not isinstance(body.get("keys"), list):
        raise PlatformUnreachable("keys")
    keys = [key for key in body["keys"] if isinstance(key, dict) and key.get("kty") == "RSA"]
    fresh = {"keys": [{"alg": ALGORITHM} | key for key in keys]}
    cache.set(name, fresh, KEYS_CACHED_SECONDS)
    return fresh


def _has(found: dict[str, Any], kid: str) -> bool:
    return any(key.get("kid") == kid for key in found["keys"])


def sign_deep_link(launch: LtiLaunch, key: LtiKey, *, title: str, url: str, number: int) -> str:
    """Return the signed message that puts a link to a thread into the platform's course."""
    resource = DeepLinkResource().set_title(title).set_url(url).set_custom_params({"thread": str(number)})
    resource.set_target("window")
    given = {"deep_link_return_url": launch.claims["return_url"]}
    if launch.claims["deep_link_data"]:
        given["data"] = launch.claims["deep_link_data"]
    answer = DeepLink(registration(launch.platform, key), launch.claims["deployment_id"], given)
    message = answer.get_message_jwt([resource])
    if "data" not in given:
        del message["https://purl.imsglobal.org/spec/lti-dl/claim/data"]
    return str(answer.encode_jwt(message))


def connector(platform: LtiPlatform, key: LtiKey) -> ServiceConnector:
    """Return what asks the platform's services with our key."""
    return ServiceConnector(registration(platform, key), Session())


def registration(platform: LtiPlatform, key: LtiKey) -> Registration:
    """Return the platform as pylti1p3 knows it, with the key we sign with."""
    made = Registration()
    made.set_issuer(platform.issuer).set_client_id(platform.client_id).set_auth_login_url(platform.authorization_url)
    made.set_auth_token_url(platform.token_url).set_key_set_url(platform.jwks_url)
    return made.set_tool_private_key(unseal(key.sealed)).set_tool_public_key(key.public_key)


def _conf(platform: LtiPlatform) -> ToolConfDict:
    """Return a configuration that knows this platform and no other: a token of another one isn't even looked at."""
    conf = {
        "client_id": platform.client_id,
        "auth_login_url": platform.authorization_url,
        "auth_token_url": platform.token_url,
        "key_set_url": platform.jwks_url,
        "deployment_ids": [row.deployment_id for row in platform.deployments.all()],
    }
    return ToolConfDict({platform.issuer: conf})
