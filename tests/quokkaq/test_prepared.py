"""Querysets whose SQL is made once: they find what the ORM finds, as whoever asks."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone

from accounts.access import stand_in, values_of
from accounts.models import Enrollment, User
from forum.models import Post, Tag, Thread
from quokkaq.lib import tenancy
from quokkaq.lib.database import prepared
from quokkaq.lib.database.prepared import Prepared, together
from quokkaq.lib.database.watching import Statement, observers
from tests import factories
from tests.factories import World

pytestmark = pytest.mark.django_db

_LISTED = Prepared[Thread](
    lambda staff, **of: (
        Thread.objects.visible_to(stand_in(staff=staff, **of))
        .with_read(stand_in(staff=staff, **of))
        .listed()
        .order_by("number")
    )
)
_NUMBERED = Prepared[Thread](lambda number: Thread.objects.filter(number=number).order_by("pk"))
_TITLES = Prepared[str](lambda after: Thread.objects.filter(created_at__gt=after).values_list("title", flat=True))
_CALLED = Prepared[tuple[str, str]](lambda slug: Tag.objects.filter(slug=slug).values_list("name", "slug"))
_NONE = Prepared[Thread](lambda number: Thread.objects.filter(number=number).none())


def as_they_are(made: Model) -> dict[str, Any]:
    """Everything of an object and of what is joined to it."""
    values = {name: value for name, value in made.__dict__.items() if name != "_state"}
    joined = {name: as_they_are(one) if one else None for name, one in made._state.fields_cache.items()}
    return {**values, "joined": joined, "adding": made._state.adding, "db": made._state.db}


def some_threads(world: World) -> None:
    factories.make_thread(world.member("sam"), "In the open", tags=[factories.make_tag(world.course, "exam")])
    factories.make_thread(world.member("sam"), "For staff alone", visibility="staff")
    factories.make_thread(world.member("noor"), "Without a name", anonymity="classmates")
    factories.make_thread(world.member("eve", world.foreign_course), "Elsewhere and foreign")


@pytest.mark.parametrize("name", ["sam", "noor", "tim"])
def test_the_same_objects_as_the_orm_makes(world: World, name: str) -> None:
    some_threads(world)
    member = world.member(name)
    found = _LISTED(member.is_staff, **values_of(member)).rows()
    wanted = Thread.objects.visible_to(member).with_read(member).listed().order_by("number")
    assert [as_they_are(one) for one in found] == [as_they_are(one) for one in wanted]
    assert found
    assert all(isinstance(one, Thread) and one.pk for one in found)


def test_one_shape_for_everybody_shows_each_their_own(world: World) -> None:
    some_threads(world)
    titles = {
        name: [one.title for one in _LISTED(world.member(name).is_staff, **values_of(world.member(name))).rows()]
        for name in ("sam", "noor", "tim", "sam")
    }
    assert titles["noor"] == ["In the open", "Without a name"]
    assert titles["sam"] == titles["tim"] == ["In the open", "For staff alone", "Without a name"]
    pat = world.member("pat", world.other_course)
    eve = world.member("eve", world.foreign_course)
    assert _LISTED(True, **values_of(pat)).rows() == []
    assert [one.title for one in _LISTED(True, **values_of(eve)).rows()] == ["Elsewhere and foreign"]


def test_the_wall_between_institutions_holds_whatever_is_asked(world: World) -> None:
    some_threads(world)
    ada = world.member("ada")
    with tenancy.scope(world.other_institution.pk):
        assert _LISTED(True, **values_of(ada)).rows() == []
    with tenancy.scope(world.institution.pk):
        assert len(_LISTED(True, **values_of(ada)).rows()) == 3


def test_values_of_every_kind_and_rows_of_values(world: World) -> None:
    some_threads(world)
    assert [one.title for one in _NUMBERED(number=1).rows()] == ["In the open", "Elsewhere and foreign"]
    assert _NUMBERED(number=77).first() is None
    assert _NUMBERED(number=10**30).rows() == []
    assert _TITLES(after=datetime(2020, 1, 1, tzinfo=UTC)).rows()
    assert _TITLES(after=datetime(2220, 1, 1, tzinfo=UTC)).rows() == []
    assert _CALLED(slug="exam").rows() == [("Exam", "exam")]
    assert _CALLED(slug="'; DROP TABLE forum_tag; --").rows() == []
    assert _CALLED(slug="100% \\ sure").rows() == []
    assert _NONE(number=1).rows() == []


def test_several_are_sent_in_one_round_trip(world: World, django_assert_num_queries: Any) -> None:
    some_threads(world)
    with django_assert_num_queries(1):
        numbered, nothing, called = together(_NUMBERED(number=2), _NONE(number=2), _CALLED(slug="exam"))
    assert [one.number for one in numbered] == [2]
    assert nothing == []
    assert called == [("Exam", "exam")]


def test_names_of_values_may_come_in_any_order(world: World) -> None:
    some_threads(world)
    both = Prepared[str](
        lambda first, second: Thread.objects.filter(title=first, body=second).values_list("title", flat=True)
    )
    body = Thread.objects.get(title="In the open").body
    assert both(first="In the open", second=body).rows() == ["In the open"]
    assert both(second=body, first="In the open").rows() == ["In the open"]


def test_what_logs_and_traces_are_told_holds_no_value(world: World) -> None:
    told: list[Statement] = []
    observers.append(told.append)
    try:
        _CALLED(slug="a-secret-word").rows()
    finally:
        observers.remove(told.append)
    assert "forum_tag" in told[-1].sql
    assert "a-secret-word" not in told[-1].sql


def test_after_an_error_the_connection_goes_on(world: World) -> None:
    some_threads(world)
    assert _NUMBERED(number=1).rows()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    # In a transaction it can only fail; the next one prepares anew.
    with pytest.raises(Exception, match="prepared statement"), transaction.atomic():
        _NUMBERED(number=1).rows()
    assert [one.number for one in _NUMBERED(number=1).rows()] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_what_was_forgotten_by_the_server_is_prepared_again(world: World) -> None:
    some_threads(world)
    assert _NUMBERED(number=1).rows()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert [one.number for one in _NUMBERED(number=1).rows()] == [1, 1]


def test_behind_pgbouncer_nothing_is_prepared(world: World, settings: Any) -> None:
    some_threads(world)
    settings.DATABASE_BEHIND_PGBOUNCER = True
    member = world.member("noor")
    found = _LISTED(False, **values_of(member)).rows()
    assert [one.title for one in found] == ["In the open", "Without a name"]
    assert [one.number for one in _NUMBERED(number=2).rows()] == [2]


def test_a_value_that_is_changed_on_its_way_is_refused(world: World) -> None:
    with pytest.raises(TypeError, match="as they are"):
        Prepared[Tag](lambda slug: Tag.objects.filter(slug__contains=slug))(slug="exam")


def test_what_asks_again_later_is_refused(world: World) -> None:
    with pytest.raises(TypeError, match="asked for later"):
        Prepared[Thread](lambda number: Thread.objects.filter(number=number).prefetch_related("tags"))(number=1)


def test_deferred_columns_are_read_when_they_are_asked_for(world: World) -> None:
    some_threads(world)
    brief = Prepared[Thread](lambda number: Thread.objects.filter(number=number, title="In the open").only("title"))
    found = brief(number=1).rows()[0]
    assert found.get_deferred_fields()
    assert found.body == Thread.objects.get(pk=found.pk).body


def test_the_private_parts_of_django_that_this_stands_on_are_there() -> None:
    compiler = User.objects.filter(email="x").query.get_compiler("default")
    compiler.as_sql()
    assert compiler.klass_info["model"] is User
    assert {"select_fields", "related_klass_infos"} <= set(compiler.klass_info) | {"related_klass_infos"}
    joined = Enrollment.objects.select_related("course").query.get_compiler("default")
    joined.as_sql()
    assert joined.klass_info["related_klass_infos"][0]["local_setter"]
    assert issubclass(psycopg.errors.InvalidSqlStatementName, psycopg.Error)
    assert prepared._TYPES
    assert Post._meta.pk


@pytest.mark.parametrize(
    "read", [list, lambda rows: list(rows.iterator())], ids=["at once", "by a cursor of the server"]
)
def test_times_are_read_in_utc(world: World, read: Callable[[Any], list[datetime]]) -> None:
    thread, when = factories.make_thread(world.member("sam")), datetime(2026, 3, 29, 1, 30, 15, 123456, tzinfo=UTC)
    Thread.objects.filter(pk=thread.pk).update(created_at=when)
    with timezone.override("Europe/Zurich"):
        found = read(Thread.objects.filter(pk=thread.pk).values_list("created_at", flat=True))
    assert [(one, one.tzinfo) for one in found] == [(when, UTC)]
