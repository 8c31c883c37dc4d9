"""Texts that only this installation can read: encrypted and signed with a key made from SECRET_KEY.

`SECRET_KEY_FALLBACKS` open what was sealed before the key was changed.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealBroken(Exception):
    """The text wasn't sealed here, was altered, or is older than allowed."""


def seal(text: str) -> str:
    """Return `text` in a form for URLs, task arguments and columns; the same text never looks the same twice."""
    return _keys().encrypt(text.encode()).decode("ascii")


def unseal(sealed: str, *, max_age: int | None = None) -> str:
    """Return what was sealed, at most `max_age` seconds ago; raise `SealBroken` otherwise."""
    try:
        return _keys().decrypt(sealed, ttl=max_age).decode()
    except (InvalidToken, TypeError, ValueError):
        raise SealBroken from None


def _keys() -> MultiFernet:
    return MultiFernet([Fernet(_key(secret)) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _key(secret: str | bytes) -> bytes:
    raw = secret.encode() if isinstance(secret, str) else secret
    return base64.urlsafe_b64encode(hashlib.sha256(b"quokkaq.sealing:" + raw).digest())
