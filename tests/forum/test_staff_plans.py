"""The queue, the insights and the lists of admin are read from indexes: their plans on some thousand rows, as the web role."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.admin.base import BoundedPaginator
from accounts.models import User
from forum.insights import Period
from forum.insights.facts import refresh_facts
from forum.insights.numbers import measure
from forum.models import FactsDue, Post, Thread
from forum.queue import load, queue
from quokkaq.lib import tenancy
from tests import factories
from tests.factories import World
from tests.table_statistics import analyze

SignIn = Callable[[User], Client]
# Of each course.
THREADS = 2000
BIG = ("forum_thread", "forum_post", "forum_searchentry", "forum_questionfact", "forum_answerfact")


def copies_of(row: Thread | Post, rows: str, **changed: str) -> None:
    """Put rows like one into its table, all but the columns given as SQL in which `n` counts; without triggers.

    Args:
        rows: a source of rows with a column `n`, as SQL.
    """
    table = row._meta.db_table
    changed = {"id": "gen_random_uuid()", "submission_key": "gen_random_uuid()", **changed}
    columns = [str(field.column) for field in row._meta.concrete_fields]
    values = ", ".join(changed.get(column, f"t.{column}") for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} t, {rows} WHERE t.id = %s",
            [row.pk],
        )
        cursor.execute(f"SET CONSTRAINTS ALL IMMEDIATE; ALTER TABLE {table} ENABLE TRIGGER USER")


@pytest.fixture
def large(world: World, sam: Member, noor: Member) -> World:
    """Two courses with thousands of threads, an answer to each, and what is made from them."""
    first = factories.make_thread(sam, "The very first question")
    factories.make_post(noor, first)
    elsewhere = world.other_course.pk.hex
    for course, start in ((f"'{world.course.pk.hex}'::uuid", 1000), (f"'{elsewhere}'::uuid", 100_000)):
        copies_of(
            first, f"generate_series(1, {THREADS}) AS n", course_id=course, number=f"{start} + n", created_at="now() - n * interval '40 minutes'",
            last_activity_at="now() - n * interval '40 minutes'", same_count="CASE WHEN mod(n, 50) = 0 THEN n / 50 ELSE 0 END",
            status="CASE WHEN mod(n, 5) = 0 THEN 'open' ELSE 'resolved' END",
            visibility="CASE WHEN mod(n, 40) = 0 THEN 'staff' ELSE 'course' END",
            deleted_at="CASE WHEN mod(n, 90) = 0 THEN now() END", is_locked="mod(n, 100) = 0",
        )  # fmt: skip
    copies_of(Post.objects.get(), "(SELECT id AS n FROM forum_thread WHERE number > 1) AS numbers", thread_id="n")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO forum_searchentry (id, institution_id, thread_id, vector) SELECT gen_random_uuid(),"
            " institution_id, id, to_tsvector('english', title || ' ' || CASE WHEN mod(number, 500) = 1 THEN 'marsupial' ELSE '' END)"
            " FROM forum_thread WHERE number > 1"
        )
        analyze()
    FactsDue.objects.bulk_create(
        FactsDue(institution=world.institution, thread_id=key) for key in Thread.objects.values_list("pk", flat=True)
    )
    with tenancy.scope(world.institution.pk):
        while refresh_facts():
            pass
    with connection.cursor() as cursor:
        analyze()
    return world


def plans(queries: list[dict[str, str]], institution: uuid.UUID) -> str:
    """Return the plans of queries, as the web role has them."""
    found = []
    # In a scope the tests are the web role.
    with tenancy.scope(institution), connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("quokkaq_web",)
        # Half of so few rows are read faster without an index; what this asks is whether there is one.
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in queries:
            sql = query["sql"].strip()
            if re.match(r"(SELECT|WITH)\b", sql) and any(table in sql for table in BIG):
                cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}".replace("%", "%%"), [])
                found.append("\n".join(line for (line,) in cursor.fetchall()))
        cursor.execute("SET LOCAL enable_seqscan = on")
    assert found
    return "\n\n".join(found)


def assert_no_table_is_read_whole(found: str) -> None:
    for table in BIG:
        whole = re.search(rf"^.*Seq Scan on {table}\b.*(\n.*){{0,3}}", found, re.MULTILINE)
        assert whole is None, f"{whole and whole[0]}\n\n{found}"


def captured(call: Callable[[], Any]) -> list[dict[str, str]]:
    with CaptureQueriesContext(connection) as found:
        call()
    return found.captured_queries


def test_the_queue_is_read_from_indexes(large: World, tim: Member) -> None:
    found = plans(captured(lambda: load(tim, queue(tim)[:25])), large.institution.pk)
    assert_no_table_is_read_whole(found)
    for index in ("threads?_unanswered", "thread_wanted", "thread_private_unsettled"):
        assert re.search(index, found), found


def test_insights_are_added_up_from_indexes(large: World, ada: Member) -> None:
    queries = captured(lambda: measure(ada, Period.last(7)))
    found = plans(queries, large.institution.pk)
    assert_no_table_is_read_whole(found)
    for index in ("question_fact_by_course", "answer_fact_by_course", "threads?_unanswered"):
        assert re.search(index, found), found
    # No text of a thread or a post is read, but the titles that are grouped.
    assert not [query["sql"] for query in queries if "forum_post" in query["sql"]]
    assert len(queries) <= 14


@pytest.mark.parametrize("model", [Thread, Post])
def test_lists_of_admin_are_read_from_indexes(large: World, model: type[Thread | Post], signed_in: SignIn) -> None:
    client = signed_in(factories.make_user(large.institution, "root", is_superuser=True, is_staff=True))
    url = reverse(f"admin:forum_{model._meta.model_name}_changelist")
    asked = ["", "p=2", "p=40", "deleted_at__isempty=0", "q=marsupial", "q=%231100", "q=nothingofthis"]
    for query in [*asked, *(["is_locked__exact=1"] if model is Thread else [])]:
        with CaptureQueriesContext(connection) as found:
            assert client.get(f"{url}?{query}").status_code == 200
        of_list = [one for one in found.captured_queries if f'FROM "{model._meta.db_table}"' in one["sql"]]
        assert_no_table_is_read_whole(plans(of_list, large.institution.pk))


def test_admin_counts_and_pages_so_far_and_says_so(
    large: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(factories.make_user(large.institution, "root", is_superuser=True, is_staff=True))
    url = reverse("admin:forum_thread_changelist")
    assert f"{2 * THREADS + 1} threads" in client.get(url).content.decode()
    monkeypatch.setattr(BoundedPaginator, "MOST", 500)
    with CaptureQueriesContext(connection) as first:
        page = client.get(url)
    assert "The first 500 threads; there are more" in page.content.decode()
    counts = [one["sql"] for one in first.captured_queries if "COUNT(*)" in one["sql"] and "forum_thread" in one["sql"]]
    assert len(counts) == 1
    assert "LIMIT 501" in counts[0]
    with CaptureQueriesContext(connection) as last:
        assert len(client.get(f"{url}?p=10").context["cl"].result_list) == 50
    assert len(last) == len(first)
    offsets = [int(found) for one in last.captured_queries for found in re.findall(r"OFFSET (\d+)", one["sql"])]
    assert max(offsets) < 500
    # Further than that there is no page.
    assert client.get(f"{url}?p=11").status_code == 302


def test_admin_finds_by_number_and_by_words(large: World, signed_in: SignIn) -> None:
    client = signed_in(factories.make_user(large.institution, "root", is_superuser=True, is_staff=True))
    url = reverse("admin:forum_thread_changelist")

    def numbers(typed: str) -> list[int]:
        return sorted(thread.number for thread in client.get(url, {"q": typed}).context["cl"].queryset)

    assert numbers("#1100") == numbers("1100") == [1100]
    assert numbers("#1101 ") == [1101]
    assert numbers("marsupial")[:2] == [1001, 1501]
    assert numbers("Marsupials question") == numbers("marsupial")
    assert numbers("-marsupial first")[0] == 1
    assert numbers("kangaroo") == []


def test_staff_find_in_admin_what_they_run(large: World, signed_in: SignIn) -> None:
    ada = large.user("ada")
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    ada.user_permissions.set(Permission.objects.filter(codename__in=("view_thread", "view_post")))
    client = signed_in(User.objects.get(pk=ada.pk))
    for typed, there in (("#1100", True), ("#100100", False), ("marsupial", True)):
        rows = client.get(reverse("admin:forum_thread_changelist"), {"q": typed}).context["cl"].queryset
        assert rows.exists() == there, typed
        assert not rows.exclude(course=large.course).exists()
