"""Our key pairs: sealed at rest with a key derived from SECRET_KEY, so a copy of the database signs nothing."""

import base64
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from jwcrypto.jwk import JWK

_KEY_BITS = 2048


class KeyLost(Exception):
    """A private key was sealed with a SECRET_KEY that isn't among the present ones."""


@dataclass(frozen=True)
class Pair:
    """A new key pair: the private half sealed, the public one as PEM."""

    sealed: str
    public_key: str


def make_pair() -> Pair:
    """Make an RSA key pair. Takes about a tenth of a second."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Pair(_sealer().encrypt(private).decode(), public.decode())


def unseal(sealed: str) -> str:
    """Return the private key as PEM. Raises `KeyLost`."""
    try:
        return _sealer().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise KeyLost from None


def reseal(sealed: str) -> str:
    """Return the same private key sealed with what is SECRET_KEY now. Raises `KeyLost`."""
    with suppress(InvalidToken):
        Fernet(_derive(settings.SECRET_KEY)).decrypt(sealed.encode())
        return sealed
    try:
        return _sealer().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise KeyLost from None


def opens(sealed: str) -> bool:
    """Tell whether a private key can be unsealed with what is SECRET_KEY now."""
    try:
        unseal(sealed)
    except KeyLost:
        return False
    return True


def as_jwk(public_key: str) -> dict[str, Any]:
    """Return a public key as it stands in a key set (RFC 7517)."""
    jwk: dict[str, Any] = json.loads(JWK.from_pem(public_key.encode()).export_public())
    return jwk | {"alg": "RS256", "use": "sig"}


def _sealer() -> MultiFernet:
    """Seal with the present SECRET_KEY, unseal with it or any of the ones before."""
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS, *settings.SEALING_KEY_FALLBACKS)
    return MultiFernet([Fernet(_derive(secret)) for secret in keys])


def _derive(secret: str) -> bytes:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"quokkaq.lti.key").derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
