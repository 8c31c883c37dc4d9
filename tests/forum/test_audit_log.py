"""The log of what was done: it only grows, says from where, and its course's staff can search it."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import actions as account_actions
from accounts.access import Member
from accounts.actions import audit
from accounts.models import AuditEvent, Consent, ConsentKind, User
from forum import actions
from forum.models import Thread
from quokkaq.lib import whereabouts
from quokkaq.lib.whereabouts import Whereabouts, acting_from, agent_of, network_of
from tests import append_only, factories
from tests.factories import World

pytestmark = pytest.mark.django_db
SignIn = Callable[[User], Client]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"


def edited(by: Member, title: str, **fields: Any) -> Thread:
    """A thread whose author has edited it, which the log notes."""
    thread = factories.make_thread(by, title, **fields)
    actions.edit_thread(by=by, thread=thread, title=title, body="Said better.", tags=[])
    return thread


def refuses(sql: str) -> bool:
    with (
        pytest.raises(IntegrityError, match="takes new rows only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
    return True


@pytest.mark.parametrize("table", append_only.TABLES)
def test_the_database_refuses_everything_but_new_rows(world: World, table: str) -> None:
    sam = world.user("sam")
    audit("profile.updated", sam, by=sam)
    account_actions.record_consent(by=sam, kind=ConsentKind.AI, version="1", is_given=True)
    with append_only.changeable(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET created_at = now() - interval '3 years'")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone()[0] == 1
    assert refuses(f"UPDATE {table} SET created_at = now()")
    assert refuses(f"DELETE FROM {table}")
    name = {"accounts_auditevent": "accounts_audit_no_truncate", "accounts_consent": "accounts_consent_no_truncate"}
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name[table]}")
    assert refuses(f"TRUNCATE {table}")
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent.objects.all().delete() if table == "accounts_auditevent" else Consent.objects.all().delete()


def purge(world: World, before: str, most: int = 100) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT accounts_purge_audit(%s, {before}, %s)", [world.institution.pk, most])
        return int(cursor.fetchone()[0])


def test_only_what_is_older_than_a_year_can_be_purged(world: World) -> None:
    sam, eve = world.user("sam"), world.user("eve")
    for person in (sam, sam, eve):
        audit("profile.updated", person, by=person)
    with append_only.changeable(), connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditevent SET created_at = now() - interval '400 days'")
    audit("avatar.removed", sam, by=sam)
    with pytest.raises(IntegrityError, match="kept for a year"), transaction.atomic():
        purge(world, "now() - interval '364 days'")
    assert purge(world, "now() - interval '366 days'", 1) == 1
    assert purge(world, "now() - interval '366 days'") == 1
    assert purge(world, "now() - interval '366 days'") == 0
    kept = list(AuditEvent.objects.order_by("pk").values_list("verb", "actor"))
    assert kept == [("profile.updated", eve.pk), ("avatar.removed", sam.pk)]


def test_knowing_the_setting_doesnt_open_what_is_younger(world: World) -> None:
    audit("profile.updated", world.user("sam"), by=world.user("sam"))
    with connection.cursor() as cursor:
        cursor.execute("SET quokkaq.purging = 'audit'")
    try:
        assert refuses("DELETE FROM accounts_auditevent")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET quokkaq.purging")


def test_rows_outlive_what_they_name(world: World, signed_in: SignIn) -> None:
    """Deleting a person, a course, or an institution changes no row of the log, and the log can still be read."""
    extra = factories.make_user(world.institution, "extra")
    course = factories.make_course(world.institution, "gone")
    audit("thread.pinned", course, by=extra, course=world.course)
    audit("course.updated", course, by=extra, course=course)
    before = list(AuditEvent.objects.order_by("pk").values())
    extra.delete()
    course.delete()
    assert list(AuditEvent.objects.order_by("pk").values()) == before
    page = signed_in(world.user("ada")).get(reverse("forum:audit", args=["cs-101"]))
    assert page.status_code == 200
    assert "Somebody" in page.content.decode()
    root = User.objects.create_superuser("root@example.edu", display_name="Root")
    assert signed_in(root).get(reverse("admin:accounts_auditevent_changelist")).status_code == 200
    row = AuditEvent.objects.get(verb="course.updated")
    assert signed_in(root).get(reverse("admin:accounts_auditevent_change", args=[row.pk])).status_code == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1234:5678::1", "2001:db8:1234::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unix:", ""),
        ("", ""),
    ],
)
def test_an_address_is_kept_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("header", "family"),
    [
        (FIREFOX, "Firefox, Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Edg/120.0",
            "Edge, Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605 Version/17 Mobile Safari/604",
            "Safari, iOS",
        ),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", "Chrome, Android"),
        ("<script>", ""),
        ("", ""),
    ],
)
def test_a_browser_is_kept_as_its_family(header: str, family: str) -> None:
    assert agent_of(header) == family


def test_requests_say_from_where_and_tasks_that_they_are_tasks(world: World, signed_in: SignIn) -> None:
    tim = signed_in(world.user("tim"))
    thread = factories.make_thread(world.member("sam"))
    url = reverse("forum:pin-thread", args=["cs-101", thread.number])
    tim.post(url, {"on": "1"}, REMOTE_ADDR="192.0.2.77", HTTP_USER_AGENT=FIREFOX)
    row = AuditEvent.objects.get(verb="thread.pinned")
    assert (row.network, row.agent) == ("192.0.2.0/24", "Firefox, Linux")
    assert whereabouts.current() == whereabouts.TASK
    audit("answer.withdrawn", thread, by=world.user("tim"), course=world.course)
    assert AuditEvent.objects.get(verb="answer.withdrawn").network == "task"


def test_who_hides_isnt_known_by_where_they_are(world: World) -> None:
    with acting_from(Whereabouts("192.0.2.0/24", "Firefox, Linux")):
        edited(world.member("sam"), "A hidden question", anonymity="all")
        edited(world.member("sam"), "An open question")
    hidden, named = AuditEvent.objects.filter(target_type="forum.thread").order_by("pk")
    assert (hidden.actor, hidden.network, hidden.agent) == (None, "", "")
    assert (named.actor, named.network) == (world.user("sam"), "192.0.2.0/24")


def trail(client: Client, **query: str) -> str:
    response = client.get(reverse("forum:audit", args=["cs-101"]), query)
    assert response.status_code == 200
    return response.content.decode()


def lines_of(page: str) -> str:
    return page.split('<ol class="trail">')[1].split("</ol>", maxsplit=1)[0] if '<ol class="trail">' in page else ""


@pytest.fixture
def log(world: World) -> World:
    """tim pins and locks, sam asks openly and hidden, long ago and now."""
    with append_only.changeable():
        thread = edited(world.member("sam"), "An open question")
        AuditEvent.objects.update(created_at=timezone.now() - timedelta(days=40), request_id="request-of-long-ago")
    actions.set_pinned(by=world.member("tim"), thread=thread, pinned=True)
    edited(world.member("noor"), "A hidden question", anonymity="all")
    audit("thread.pinned", thread, by=world.user("pat"), course=world.other_course)
    audit("profile.updated", world.user("sam"), by=world.user("sam"))
    return world


def test_staff_search_by_person_act_kind_time_and_request(log: World, signed_in: SignIn) -> None:
    tim = signed_in(log.user("tim"))
    everything = lines_of(trail(tim))
    assert everything.count("<li>") == AuditEvent.objects.filter(course=log.course).count()
    assert "Surname-pat" not in everything
    only_tim = lines_of(trail(tim, who="surname-TIM"))
    assert "pinned a thread" in only_tim
    assert "Surname-sam" not in only_tim
    assert "Surname-sam" in lines_of(trail(tim, who="sam@example.edu"))
    assert lines_of(trail(tim, who="noor")) == "", "who hides isn't found by name"
    assert "pinned" in lines_of(trail(tim, verb="thread.pinned"))
    assert lines_of(trail(tim, verb="thread.pinned")).count("<li>") == 1
    assert "pinned" in lines_of(trail(tim, kind="forum.thread"))
    today = timezone.localdate()
    old = str(today - timedelta(days=40))
    assert "pinned" not in lines_of(trail(tim, since=old, until=old))
    assert "Surname-sam" in lines_of(trail(tim, since=old, until=old))
    assert "Surname-sam" not in lines_of(trail(tim, since=str(today)))
    assert "Surname-sam" in lines_of(trail(tim, request="request-of-long-ago"))
    assert "Nothing fits" in trail(tim, request="another-request")
    assert "Nothing fits" in trail(tim, until="9999-12-31", since="9999-12-31")


def test_a_request_doesnt_tie_who_hides_to_a_name(log: World, signed_in: SignIn) -> None:
    """Rows of one request belong together; of a hidden act's request neither the page nor the search says which it was."""
    hidden = AuditEvent.objects.get(course=log.course, actor=None)
    with append_only.changeable():
        AuditEvent.objects.filter(pk=hidden.pk).update(request_id="shared-request-1")
        AuditEvent.objects.filter(verb="thread.pinned", course=log.course).update(request_id="shared-request-1")
    tim = signed_in(log.user("tim"))
    assert lines_of(trail(tim, request="shared-request-1")).count("<li>") == 1
    assert lines_of(trail(tim)).count("shared-request-1") == 1
    assert table(tim)[0]["Request"] in ("", "shared-request-1")
    assert sum(row["Request"] == "shared-request-1" for row in table(tim)) == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "yesterday"}, "Give a day"),
        ({"since": "2026-03-02", "until": "2026-03-01"}, "Swap them"),
        ({"verb": "made.up"}, "Choose from the list"),
        ({"kind": "accounts.user"}, "Choose from the list"),
        ({"request": "x" * 65}, "at most 64"),
    ],
)
def test_what_cant_be_looked_for_is_explained_and_kept(
    log: World, signed_in: SignIn, query: dict[str, str], words: str
) -> None:
    tim = signed_in(log.user("tim"))
    for name in ("forum:audit", "forum:audit-csv"):
        response = tim.get(reverse(name, args=["cs-101"]), query)
        assert response.status_code == 422
        assert words in response.content.decode()
    if "since" in query:
        assert query["since"] in response.content.decode()


def table(client: Client, **query: str) -> list[dict[str, str]]:
    response = client.get(reverse("forum:audit-csv", args=["cs-101"]), query)
    assert response.status_code == 200
    return list(csv.DictReader(io.StringIO(response.content.decode())))


def test_the_table_holds_what_the_page_holds_and_runs_nothing(log: World, signed_in: SignIn) -> None:
    tim = signed_in(log.user("tim"))
    User.objects.filter(pk=log.user("sam").pk).update(display_name="=HYPERLINK(1)")
    rows = table(tim)
    assert len(rows) == AuditEvent.objects.filter(course=log.course).exclude(verb="audit.downloaded").count()
    assert {row["Who"] for row in rows} == {"'=HYPERLINK(1)", "Tim Surname-tim", ""}
    assert "Surname-noor" not in str(rows)
    assert AuditEvent.objects.get(verb="audit.downloaded").actor == log.user("tim")
    assert [row["Act"] for row in table(tim, verb="thread.pinned")] == ["thread.pinned"]


@pytest.mark.parametrize(
    ("who", "status"), [("sam", 403), ("dana", 404), ("carl", 403), ("pat", 404), ("eve", 404), ("tim", 200)]
)
def test_only_staff_of_the_course_read_it(log: World, signed_in: SignIn, who: str, status: int) -> None:
    for name in ("forum:audit", "forum:audit-csv"):
        response = signed_in(log.user(who)).get(reverse(name, args=["cs-101"]))
        # eve runs a course of the same name elsewhere.
        assert response.status_code == (200 if who == "eve" else status)
        assert "An open question" not in response.content.decode() or who == "tim"
    assert Client().get(reverse("forum:audit-csv", args=["cs-101"])).status_code == 302


def test_pages_keep_to_what_is_looked_for_and_cost_the_same(
    log: World, signed_in: SignIn, django_assert_max_num_queries: Any
) -> None:
    thread = factories.make_thread(log.member("tim"), "Pinned again and again")
    for _ in range(60):
        audit("thread.pinned", thread, by=log.user("tim"), course=log.course)
    tim = signed_in(log.user("tim"))
    with django_assert_max_num_queries(12):
        page = trail(tim, who="Surname-tim", verb="thread.pinned")
    assert lines_of(page).count("<li>") == 50
    following = page.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    rest = tim.get(reverse("forum:audit", args=["cs-101"]) + following).content.decode()
    assert lines_of(rest).count("<li>") == 11
    wrong = tim.get(reverse("forum:audit", args=["cs-101"]) + following.replace("verb=thread.pinned", "verb="))
    assert wrong.status_code == 400
