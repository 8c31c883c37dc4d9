"""OpenID Connect as strictly as its specification: every ID token is checked, whoever handed it over.

allauth takes a token that came over TLS without looking at its signature, and knows no nonce. Here a token is refused
that isn't signed by a key of the provider with an asymmetric algorithm, isn't for us, is too old, or answers another
browser's question.
"""

import hashlib
import hmac
from typing import Any

import jwt
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Client, OAuth2Error
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
# How far the provider's clock may be from ours, in seconds.
LEEWAY = 60


def nonce_of(state: str) -> str:
    """Return the nonce of a request. Its state is known to one browser and used once, so the nonce is, too."""
    return hmac.new(settings.SECRET_KEY.encode(), f"quokkaq.oidc:{state}".encode(), hashlib.sha256).hexdigest()


class NonceClient(OAuth2Client):
    """Asks for an ID token that carries our nonce."""

    def get_redirect_url(self, authorization_url: str, scope: list[str], extra_params: dict[str, Any]) -> str:
        params = extra_params | {"nonce": nonce_of(str(self.state))}
        return str(super().get_redirect_url(authorization_url, scope, params))


class StrictOpenIDConnectAdapter(OpenIDConnectOAuth2Adapter):
    client_class = NonceClient

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return what the provider says of itself, if it is the one we were told to ask."""
        try:
            config: dict[str, Any] = super().openid_config
            issuer = str(config["issuer"])
        except (KeyError, ValueError) as problem:
            raise OAuth2Error("The provider's configuration can't be read") from problem
        asked = str(self.get_provider().app.settings["server_url"]).partition("/.well-known/")[0]
        if issuer.rstrip("/") != asked.rstrip("/"):
            raise OAuth2Error("The provider's configuration is another issuer's")
        return config

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        claims = self._claims(app, str(kwargs["response"].get("id_token", "")), request.GET.get("state", ""))
        data = {"id_token": claims}
        if "userinfo_endpoint" in self.openid_config:
            found = self._fetch_user_info(token.token)
            if found.get("sub") != claims["sub"]:
                raise OAuth2Error("The provider speaks of two people")
            data["userinfo"] = claims | found
        login: SocialLogin = self.get_provider().sociallogin_from_response(request, data)
        # What we need of it is on the account already.
        login.account.extra_data = {}
        return login

    def _claims(self, app: SocialApp, id_token: str, state: str) -> dict[str, Any]:
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
        try:
            header = jwt.get_unverified_header(id_token)
            keys = [key for key in jwt.PyJWKSet.from_dict(answer.json()).keys if key.key_id == header.get("kid")]
            claims: dict[str, Any] = jwt.decode(
                id_token,
                keys[0].key,
                algorithms=ALGORITHMS,
                audience=app.client_id,
                issuer=self.openid_config["issuer"],
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
            )
        except (jwt.PyJWTError, IndexError, ValueError) as problem:
            raise OAuth2Error("The ID token is refused") from problem
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != app.client_id:
            raise OAuth2Error("The ID token was made for somebody else")
        if not hmac.compare_digest(str(claims["nonce"]), nonce_of(state)):
            raise OAuth2Error("The ID token answers another request")
        return claims
