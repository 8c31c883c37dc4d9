"""Personas, a course with something in it, and clients that are signed in."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.test import Client

from accounts.access import Member
from accounts.models import User
from tests import factories
from tests.factories import World


@pytest.fixture(autouse=True)
def fresh_cache_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts with an empty cache and an empty folder for files."""
    cache.clear()
    monkeypatch.setattr(default_storage, "_location", str(tmp_path / "media"), raising=False)
    for name in ("base_location", "location"):
        default_storage.__dict__.pop(name, None)
        getattr(default_storage, "_wrapped", default_storage).__dict__.pop(name, None)
    yield
    cache.clear()


@pytest.fixture
def world(db: None) -> World:
    """Two institutions, two courses at the first, and everybody named in `tests/factories.py`."""
    return factories.make_world()


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """Return a client signed in as somebody."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def sam(world: World) -> Member:
    return world.member("sam")


@pytest.fixture
def noor(world: World) -> Member:
    return world.member("noor")


@pytest.fixture
def tim(world: World) -> Member:
    return world.member("tim")


@pytest.fixture
def ada(world: World) -> Member:
    return world.member("ada")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of Chromium; skip loudly without it, and fail where no skip is allowed."""
    return needed("chromium", "chromium-browser")


@pytest.fixture(scope="session")
def redis_server() -> str:
    """Return the path of redis-server."""
    return needed("redis-server")


def needed(*programs: str) -> str:
    found = next((path for path in map(shutil.which, programs) if path), None)
    if found is None:
        reason = f"{programs[0]} is not installed: run `make test` as root, or install it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
