"""Secrets that others issue: a new one is tried before it replaces the old."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx2
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection

from quokkaq.lib import egress
from quokkaq.rotation.vault import credentials, key_pair

if TYPE_CHECKING:
    from botocore.client import BaseClient

SECONDS = 10.0
# IAM tells all of S3 of a new key within seconds.
_KEY_SETTLES_SECONDS = 30.0


class Untried(Exception):
    """Nothing tells whether a new secret works. The sentence says why."""


class NotTaken(Exception):
    """The provider refuses a secret, or a step. The sentence says which; it never holds a secret."""


def try_out(name: str, value: str) -> None:
    """Use a secret as QuokkaQ will. Raises `NotTaken`, or `Untried`."""
    if name == "EMAIL_URL":
        _try_mail(value)
    elif name == "OPENAI_API_KEY":
        base = settings.OPENAI_BASE_URL or "https://api.openai.com/v1"
        _try_models(f"{base}/models", base, {"Authorization": f"Bearer {value}"})
    elif name == "ANTHROPIC_API_KEY":
        base = settings.ANTHROPIC_BASE_URL or "https://api.anthropic.com"
        _try_models(f"{base}/v1/models", base, {"x-api-key": value, "anthropic-version": "2023-06-01"})
    elif name == "EMBEDDING_API_KEY":
        base = settings.EMBEDDING_BASE_URL.rstrip("/")
        _try_models(f"{base}/models", base, {"Authorization": f"Bearer {value}"})
    elif name == "REDIS_URL":
        if not redis_takes(value):
            raise NotTaken("Redis doesn't take this URL.")
    elif name == "AWS_CREDENTIALS":
        _try_bucket(*key_pair(value))
    else:
        raise Untried("There is no way to try it.")


def _try_mail(url: str) -> None:
    import environ

    try:
        read = environ.Env.email_url_config(url)
    except ImproperlyConfigured:
        raise NotTaken("This is no address of a mail server: smtp+tls://USER:PASSWORD@HOST:587") from None
    connection = get_connection(
        read.get("EMAIL_BACKEND"), host=read.get("EMAIL_HOST"), port=read.get("EMAIL_PORT"),
        username=read.get("EMAIL_HOST_USER"), password=read.get("EMAIL_HOST_PASSWORD"),
        use_tls=read.get("EMAIL_USE_TLS", False), use_ssl=read.get("EMAIL_USE_SSL", False), timeout=SECONDS,
    )  # fmt: skip
    try:
        connection.open()
        connection.close()
    except Exception as error:
        raise NotTaken(f"The mail server doesn't take it ({type(error).__name__}).") from None


def _try_models(url: str, base: str, headers: dict[str, str]) -> None:
    try:
        with egress.client(base_url=base, seconds=SECONDS) as client:
            status = client.get(url, headers=headers).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise NotTaken(f"The service can't be reached ({type(error).__name__}).") from None
    if status in (404, 405):
        raise Untried(f"The service lists no models ({status}).")
    if status != 200:
        raise NotTaken(f"The service doesn't take it ({status}).")


# Redis


def redis_takes(url: str) -> bool:
    """Tell whether Redis lets one in by a URL."""
    try:
        with redis_at(url) as client:
            return bool(client.ping())
    except (redis.RedisError, ValueError):
        return False


def redis_obeys(url: str) -> bool:
    """Tell whether Redis asks for a password, and lets it be set: by setting the one it has."""
    password = urlsplit(url).password
    if not password:
        return False
    try:
        with redis_at(url) as client:
            return bool(client.config_set("requirepass", unquote(password)))
    except redis.RedisError:
        return False


@contextlib.contextmanager
def redis_at(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3)
    try:
        yield client
    finally:
        client.close()


def set_redis_password(old: str, new: str) -> None:
    """Have Redis ask for the password of `new` from now on, and hang up on everybody. Raises `NotTaken`."""
    try:
        if not redis_takes(new):
            with redis_at(old) as client:
                client.config_set("requirepass", unquote(urlsplit(new).password or ""))
        with redis_at(new) as client:
            client.flushdb()
            for kind in ("normal", "pubsub"):
                # Not everywhere one may hang up on others; the old password is no use for coming back.
                with contextlib.suppress(redis.ResponseError):
                    client.client_kill_filter(_type=kind, skipme=True)
    except redis.RedisError as error:
        raise NotTaken(
            f"Redis doesn't let its password be set ({type(error).__name__}). Change it where Redis is run, then: "
            "--only redis --new REDIS_URL=FILE"
        ) from None


def with_password(url: str, password: str) -> str:
    """Return a URL with another password."""
    parts = urlsplit(url)
    user, host = parts.username or "", parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


# S3


def _client(service: str, key: str, secret: str, **options: Any) -> "BaseClient":
    from boto3.session import Session

    session = Session(aws_access_key_id=key, aws_secret_access_key=secret)
    client: BaseClient = session.client(  # type: ignore[call-overload]  # which service is known at run time only
        service, region_name=settings.AWS_S3_REGION_NAME or "us-east-1", **options
    )
    return client


def _iam(key: str, secret: str) -> Any:
    from botocore.config import Config

    # Its endpoint, where it isn't Amazon's, is AWS_ENDPOINT_URL_IAM: boto3 reads that itself.
    config = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
    return _client("iam", key, secret, config=config)


@contextlib.contextmanager
def _in_words(what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise NotTaken(f"{what} ({error.response['Error']['Code']}).") from None
    except BotoCoreError as error:
        raise NotTaken(f"{what} ({type(error).__name__}).") from None


def new_key_pair(old: str, *, since: datetime) -> str:
    """Make a second key for whoever the old one belongs to; return both halves as a credentials file.

    A key made after `since` that nobody wrote down, by a run that was cut off, is removed first. Raises `NotTaken`.
    """
    key, secret = key_pair(old)
    with _in_words("IAM makes no new key"):
        iam = _iam(key, secret)
        for known in iam.list_access_keys()["AccessKeyMetadata"]:
            # Their clock tells whole seconds.
            if known["AccessKeyId"] != key and known["CreateDate"] >= since.astimezone(UTC).replace(microsecond=0):
                iam.delete_access_key(AccessKeyId=known["AccessKeyId"])
        made = iam.create_access_key()["AccessKey"]
    return credentials(made["AccessKeyId"], made["SecretAccessKey"])


def end_key_pair(ended: str, by: str) -> None:
    """Remove a key at IAM with another's right; one that is gone already is no fault. Raises `NotTaken`."""
    with _in_words("IAM doesn't remove the old key"):
        iam = _iam(*key_pair(by))
        if ended in {known["AccessKeyId"] for known in iam.list_access_keys()["AccessKeyMetadata"]}:
            iam.delete_access_key(AccessKeyId=ended)


def _try_bucket(key: str, secret: str) -> None:
    from botocore.config import Config

    bucket = settings.AWS_STORAGE_BUCKET_NAME or settings.BACKUP_BUCKET_NAME
    if not bucket:
        raise Untried("No bucket is set.")
    endpoint = settings.AWS_S3_ENDPOINT_URL
    style: Any = {"addressing_style": "path" if endpoint else "virtual"}
    client: Any = _client(
        "s3", key, secret, endpoint_url=endpoint,
        config=Config(signature_version="s3v4", s3=style, connect_timeout=5, read_timeout=10),
    )  # fmt: skip
    deadline = time.monotonic() + _KEY_SETTLES_SECONDS
    while True:
        try:
            with _in_words("The bucket doesn't take it"):
                client.head_bucket(Bucket=bucket)
            return
        except NotTaken:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
