"""Sessions when the database is away at the end of a request."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client

from accounts.access import Member
from accounts.models import User
from forum.models import Thread
from tests import factories
from tests.factories import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def thread(sam: Member) -> Thread:
    return factories.make_thread(sam)


def test_a_database_that_went_away_after_an_act_is_no_bad_request(
    world: World, thread: Thread, signed_in: Callable[[User], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(world.user("tim"))
    client.raise_request_exception = False

    def away(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Session, "save", away)
    response = client.post(f"/c/cs-101/{thread.number}/pin/", {"on": "1"})
    # It was done, and only saying so failed: whoever reads this looks whether it is there, and is not told that it can't be.
    assert response.status_code == 503
    thread.refresh_from_db()
    assert thread.is_pinned


def test_a_session_that_has_ended_meanwhile_is_said_as_that(
    world: World, thread: Thread, signed_in: Callable[[User], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(world.user("tim"))
    client.raise_request_exception = False
    save = Session.save

    def ended(row: Session, *args: Any, **kwargs: Any) -> None:
        Session.objects.filter(pk=row.pk).delete()
        save(row, *args, **kwargs)

    monkeypatch.setattr(Session, "save", ended)
    assert client.post(f"/c/cs-101/{thread.number}/pin/", {"on": "1"}).status_code == 400
