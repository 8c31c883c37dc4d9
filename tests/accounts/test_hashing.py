"""A rush of sign-ins takes the memory of one password's hash, not of as many as there are threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, identify_hasher, make_password

from accounts.hashing import Argon2OneByOne


def test_passwords_kept_before_are_still_known() -> None:
    encoded = Argon2PasswordHasher().encode("correct horse battery", "saltsaltsalt")
    assert isinstance(identify_hasher(encoded), Argon2OneByOne)
    assert check_password("correct horse battery", encoded)
    assert not check_password("another", encoded)
    assert make_password("correct horse battery").startswith("argon2$argon2id$")


@pytest.mark.parametrize("what", ["encode", "verify"])
def test_one_is_hashed_at_a_time(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def slow(*_: Any) -> str:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1
        return "x"

    monkeypatch.setattr(Argon2PasswordHasher, what, slow)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: getattr(Argon2OneByOne(), what)("word", "salt"), range(8)))
    assert most == 1
