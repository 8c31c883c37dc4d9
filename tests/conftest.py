"""Personas, a course with something in it, and clients that are signed in."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.http import HttpRequest
from django.test import Client
from pytest_django.plugin import DjangoDbBlocker

from accounts.access import Member
from accounts.models import User
from accounts.signing_in import SECOND_FACTOR
from quokkaq.lib import fragments
from tests import append_only, factories
from tests.factories import World
from tests.services.s3_server import S3Server, s3

__all__ = ["s3"]


# Tests of browsers, of processes that are killed, and those that time something depend on how busy the machine is. One that
# fails is tried again, and the summary says so; what fails twice fails.
CLOCKED = ("browser", "drill", "clocked")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.get_closest_marker(name) for name in CLOCKED):
            item.add_marker(pytest.mark.flaky(reruns=1))


@contextmanager
def files_in(folder: Path) -> Iterator[None]:
    """Have Django keep files in a folder inside the block."""

    def put(location: str | None) -> None:
        default_storage._location = location  # type: ignore[attr-defined]  # where a storage on disk keeps it
        for name in ("base_location", "location"):
            default_storage.__dict__.pop(name, None)
            getattr(default_storage, "_wrapped", default_storage).__dict__.pop(name, None)

    before = getattr(default_storage, "_location", None)
    put(str(folder))
    try:
        yield
    finally:
        put(before)


@pytest.fixture(autouse=True)
def fresh_cache_and_files(tmp_path: Path) -> Iterator[None]:
    """Every test starts with an empty cache, no kept HTML and an empty folder for files."""
    cache.clear()
    fragments.forget()
    with files_in(tmp_path / "media"):
        yield
    cache.clear()


@pytest.fixture(scope="module")
def kept(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A transaction, and a folder for files, around all tests of a module that ask for it.

    What fixtures of the module make in it is there for each of its tests, whose own changes are taken back after each.
    Nothing of it is there for tests that commit: they can't share a module with these.
    """
    folder = tmp_path_factory.mktemp("kept") / "media"
    with django_db_blocker.unblock(), files_in(folder), transaction.atomic():
        with connection.cursor() as cursor:
            # Tests that don't ask for the database may take their time in between.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield folder
        transaction.set_rollback(True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """Through PgBouncer nobody migrates: the test database was before (`test_pgbouncer_drill.py`)."""
    with (
        mock.patch("quokkaq.management.commands.migrate.Command.handle", return_value=None)
        if settings.DATABASE_BEHIND_PGBOUNCER
        else nullcontext()
    ):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, which tests may empty."""
    with django_db_blocker.unblock():
        append_only.let_be_emptied()


def _proved_twice(request: HttpRequest, user: User, **kwargs: object) -> None:
    if "REQUEST_METHOD" not in request.META:
        request.session[SECOND_FACTOR] = str(user.pk)


@pytest.fixture(autouse=True)
def no_second_step() -> Iterator[None]:
    """`force_login` skips how people prove who they are: the second step, too. (Its request has no headers.)"""
    user_logged_in.connect(_proved_twice)
    yield
    user_logged_in.disconnect(_proved_twice)


@pytest.fixture
def world(db: None) -> World:
    """Two institutions, two courses at the first, and everybody named in `tests/factories.py`."""
    return factories.make_world()


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    """Return a client signed in as somebody."""
    return factories.browser


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


@pytest.fixture
def bucket(s3: "S3Server", monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An empty bucket, in which Django keeps files for the length of a test."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    with s3.settings():
        yield s3
    s3.empty()


def needed(*programs: str) -> str:
    found = next((path for path in map(shutil.which, programs) if path), None)
    if found is None:
        reason = f"{programs[0]} is not installed: run `make test` as root, or install it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture
def loopback(settings: Any) -> None:
    """Let this server call services on this machine: those that a test starts."""
    settings.EGRESS_ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
