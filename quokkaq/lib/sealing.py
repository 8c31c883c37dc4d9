"""Texts that only this installation can read: encrypted and signed with a key made from SECRET_KEY.

`SECRET_KEY_FALLBACKS` open what was sealed before the key was changed. `SEALING_KEY_FALLBACKS` open only what lies in our
database: after a theft a former key must make no link valid, and what people entrusted to us must stay readable.
"""

import base64
import hashlib
from collections.abc import Iterable
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealBroken(Exception):
    """The text wasn't sealed here, was altered, or is older than allowed."""


def seal(text: str) -> str:
    """Return `text` in a form for URLs, task arguments and columns; the same text never looks the same twice."""
    return _keys().encrypt(text.encode()).decode("ascii")


def unseal(sealed: str, *, max_age: int | None = None) -> str:
    """Return what was sealed; raise `SealBroken` otherwise.

    Args:
        max_age: for what comes from outside, such as a link: it was sealed at most so many seconds ago, with a key that
            still signs. Leave it out only for what comes from our own database.
    """
    former = settings.SEALING_KEY_FALLBACKS if max_age is None else ()
    try:
        return _keys(former).decrypt(sealed, ttl=max_age).decode()
    except (InvalidToken, TypeError, ValueError):
        raise SealBroken from None


def reseal(sealed: str) -> str:
    """Return the same text sealed with what is SECRET_KEY now: as it is, when it is already. Raises `SealBroken`."""
    with suppress(InvalidToken, TypeError, ValueError):
        _fernet(settings.SECRET_KEY).decrypt(sealed)
        return sealed
    try:
        return _keys(settings.SEALING_KEY_FALLBACKS).rotate(sealed).decode("ascii")
    except (InvalidToken, TypeError, ValueError):
        raise SealBroken from None


def _keys(former: Iterable[str] = ()) -> MultiFernet:
    return MultiFernet([_fernet(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS, *former)])


def _fernet(secret: str | bytes) -> Fernet:
    raw = secret.encode() if isinstance(secret, str) else secret
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"quokkaq.sealing:" + raw).digest()))
