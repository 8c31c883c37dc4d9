"""How passwords are kept."""

import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

_one = threading.Lock()


class Argon2OneByOne(Argon2PasswordHasher):
    """Argon2id as Django sets it, one at a time in each process.

    Each takes 100 MB while it works, and uses several cores: four at once, in a rush of sign-ins, took 400 MB and were no
    sooner done than one after the other.
    """

    def encode(self, password: str, salt: str) -> str:
        with _one:
            return str(super().encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        with _one:
            return bool(super().verify(password, encoded))
