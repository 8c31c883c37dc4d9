"""One thing done to many threads: to all of them or to none."""

import threading
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.access import Member
from accounts.models import AuditEvent, CourseStatus, Enrollment, User
from forum import access, actions
from forum.actions.bulk import _why_refused
from forum.models import Assignment, Tag, Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
BULK = "/c/cs-101/bulk/"


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("tim"))


@pytest.fixture
def threads(sam: Member) -> list[Thread]:
    return [factories.make_thread(sam, f"Question number {n}") for n in range(3)]


def numbers(threads: list[Thread]) -> list[int]:
    return [thread.number for thread in threads]


def states(field: str) -> set[object]:
    return set(Thread.objects.values_list(field, flat=True))


@pytest.mark.parametrize(
    ("act", "field", "value", "said"),
    [
        ("resolve", "status", "resolved", "3 threads marked as resolved."),
        ("lock", "is_locked", True, "3 threads locked."),
        ("pin", "is_pinned", True, "3 threads pinned."),
    ],
)
def test_all_of_them_are_changed_and_back(
    client: Client, threads: list[Thread], act: str, field: str, value: object, said: str
) -> None:
    before = states(field)
    page = client.post(BULK, {"threads": numbers(threads), "act": act}, follow=True)
    assert said in page.content.decode()
    assert states(field) == {value}
    back = {"resolve": "reopen", "lock": "unlock", "pin": "unpin"}[act]
    client.post(BULK, {"threads": numbers(threads), "act": back})
    assert states(field) == before
    assert AuditEvent.objects.filter(target_id__in=[t.pk for t in threads], actor__isnull=False).count() == 6


def test_deleting_and_restoring(client: Client, threads: list[Thread]) -> None:
    client.post(BULK, {"threads": numbers(threads[:2]), "act": "delete"})
    assert Thread.objects.filter(deleted_at=None).count() == 1
    shown = client.get(BULK + "?show=deleted").context["rows"]
    assert {row.number for row, *_ in shown} == set(numbers(threads[:2]))
    client.post(BULK + "?show=deleted", {"threads": numbers(threads[:2]), "act": "restore"})
    assert Thread.objects.filter(deleted_at=None).count() == 3


def test_tags_assignments_and_assignees(client: Client, world: World, threads: list[Thread], tim: Member) -> None:
    tag = factories.make_tag(world.course)
    homework = actions.save_assignment(by=tim, assignment=None, title="HW 1", due_at=None, embargo_until=None)
    chosen = {"threads": numbers(threads)}
    threads[0].tags.add(tag, through_defaults={"institution_id": world.institution.pk})
    client.post(BULK, chosen | {"act": "tag", "tag": tag.slug})
    assert tag.threads.count() == 3
    client.post(BULK, chosen | {"act": "untag", "tag": tag.slug})
    assert tag.threads.count() == 0
    page = client.post(BULK, chosen | {"act": "assignment", "assignment": homework.slug}, follow=True)
    assert "3 threads set to HW 1." in page.content.decode()
    assert states("assignment") == {homework.pk}
    client.post(BULK, chosen | {"act": "assignment", "assignment": ""})
    assert states("assignment") == {None}
    client.post(BULK, chosen | {"act": "assign", "to": world.user("ada").pk})
    assert states("assignee") == {world.user("ada").pk}
    client.post(BULK, chosen | {"act": "assign", "to": ""})
    assert states("assignee") == {None}


def test_one_that_refuses_stops_all_and_the_ticks_stay(
    client: Client, threads: list[Thread], tim: Member, world: World
) -> None:
    news = factories.make_thread(tim, "Some news", kind="announcement")
    chosen = numbers([*threads, news])
    page = client.post(BULK, {"threads": chosen, "act": "resolve"})
    assert page.status_code == 409
    text = page.content.decode()
    assert f"Nothing was changed. #{news.number} can’t be marked as resolved: there is nothing to settle" in text
    assert text.count(" checked") == 4
    assert states("status") == {"open"}
    assert not AuditEvent.objects.filter(verb="thread.resolved").exists()
    actions.delete_thread(by=tim, thread=threads[1])
    for act in ("lock", "assign"):
        page = client.post(BULK, {"threads": numbers(threads), "act": act})
        assert f"#{threads[1].number} can’t be" in page.content.decode()
        assert "it is deleted. Restore it first." in page.content.decode()
        # It isn't on this page of the list any more, and still in sight.
        assert page.content.decode().count(" checked") == 3
    tag = factories.make_tag(world.course)
    for act, more in (("tag", {"tag": tag.slug}), ("assignment", {"assignment": ""})):
        assert client.post(BULK, {"threads": numbers(threads), "act": act} | more).status_code == 409
    page = client.post(BULK, {"threads": numbers(threads), "act": "restore"})
    assert "it isn’t deleted" in page.content.decode()
    assert not Thread.objects.filter(is_locked=True).exists()


def test_a_refusal_in_words_is_passed_on(threads: list[Thread], tim: Member, world: World) -> None:
    with pytest.raises(access.Refused, match=r"Nothing was changed\. Sam .* isn’t staff"):
        actions.do_to_threads(by=tim, numbers=numbers(threads), act=actions.assigning(world.user("sam")))


def test_what_is_missing_nothing_or_too_much_is_said(
    client: Client, threads: list[Thread], tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sent, said in (
        ({"act": "lock"}, "Tick the threads you mean first"),
        ({"threads": numbers(threads)}, "Choose what to do with them"),
        ({"threads": numbers(threads), "act": "tag"}, "Choose a tag"),
        ({"threads": numbers(threads), "act": "tag", "tag": "nothing"}, "Select a valid choice"),
        ({"threads": ["x", "99999999999999999", "²"], "act": "lock"}, "Select a valid choice"),
    ):
        page = client.post(BULK, sent)
        assert page.status_code == 422
        assert said in page.content.decode()
    page = client.post(BULK, {"threads": [*numbers(threads), 999], "act": "lock"})
    assert "#999 isn’t in this course any more" in page.content.decode()
    with pytest.raises(access.Refused, match="Tick the threads"):
        actions.do_to_threads(by=tim, numbers=[], act=actions.BULK_ACTS["lock"])
    monkeypatch.setattr("forum.actions.bulk.MAX_BULK", 2)
    with pytest.raises(access.Refused, match="up to 2 threads"):
        actions.do_to_threads(by=tim, numbers=numbers(threads), act=actions.BULK_ACTS["lock"])
    assert states("is_locked") == {False}


def test_ones_own_hidden_thread_is_not_changed_among_others(sam: Member, threads: list[Thread], world: World) -> None:
    """The audit log would leave out who did it for that one only."""
    own = factories.make_thread(sam, "My own question", anonymity="all")
    Enrollment.objects.filter(user=sam.user).update(role="ta")
    promoted = world.member("sam")
    other = factories.make_thread(world.member("noor"), "Not mine")
    with pytest.raises(access.Refused, match="would show whose it is"):
        actions.do_to_threads(by=promoted, numbers=[own.number, other.number], act=actions.BULK_ACTS["resolve"])
    actions.do_to_threads(by=promoted, numbers=[own.number], act=actions.BULK_ACTS["resolve"])
    assert AuditEvent.objects.get(verb="thread.resolved").actor is None


def test_only_staff_and_only_their_course(world: World, sam: Member, threads: list[Thread], signed_in: SignIn) -> None:
    for name, status in (("sam", 403), ("pat", 404), ("dana", 404), ("tim", 200)):
        assert signed_in(world.user(name)).get(BULK).status_code == status
    with pytest.raises(PermissionDenied):
        actions.do_to_threads(by=sam, numbers=numbers(threads), act=actions.BULK_ACTS["lock"])
    factories.archive(world.course)
    client = signed_in(world.user("tim"))
    assert "Do it" not in client.get(BULK).content.decode()
    assert client.post(BULK, {"threads": numbers(threads), "act": "lock"}).status_code == 403
    with pytest.raises(PermissionDenied):
        actions.do_to_threads(by=world.member("tim"), numbers=numbers(threads), act=actions.BULK_ACTS["lock"])


def test_every_refusal_has_a_reason_in_words(sam: Member) -> None:
    thread = factories.make_thread(sam)
    assert "isn’t possible" in _why_refused(thread, "locked")
    thread.course.status = CourseStatus.ARCHIVED
    assert "archived" in _why_refused(thread, "locked")


def test_filters_and_pages(client: Client, world: World, sam: Member, tim: Member) -> None:
    tag = factories.make_tag(world.course)
    homework = actions.save_assignment(by=tim, assignment=None, title="HW 1", due_at=None, embargo_until=None)
    one = factories.make_thread(sam, "Number one", tags=[tag])
    two = factories.make_thread(sam, "Number two")
    Thread.objects.filter(pk=two.pk).update(assignment=homework, is_locked=True, is_pinned=True, assignee=tim.user)
    factories.make_post(tim, two)

    def found(query: str) -> list[int]:
        return [row.number for row, *_ in client.get(BULK + query).context["rows"]]

    assert found("") == [2, 1]
    assert found("?show=open") == found("?show=unassigned") == found(f"?tag={tag.slug}") == [1]
    assert found("?show=answered") == found("?show=pinned") == found("?show=locked") == [2]
    assert found(f"?assignment={homework.slug}") == [2]
    assert found("?show=resolved") == []
    for bad in ("show=x", "tag=x", "assignment=x", "tag=%00", "cursor=x"):
        page = client.get(f"{BULK}?{bad}")
        assert page.status_code == 400
        assert [row.number for row, *_ in page.context["rows"]] == [2, 1]
    assert one.number == 1


def test_the_page_costs_the_same_at_one_and_at_sixty(client: Client, sam: Member, tim: Member) -> None:
    factories.make_thread(sam)
    client.get(BULK)
    with CaptureQueriesContext(connection) as few:
        client.get(BULK)
    for n in range(59):
        thread = factories.make_thread(sam, f"Question {n} of many", anonymity="all")
        actions.assign_thread(by=tim, thread=thread, to=tim.user)
    with CaptureQueriesContext(connection) as many:
        page = client.get(BULK)
    assert len(many) == len(few)
    assert len(page.context["rows"]) == 50
    following = client.get(BULK + page.context["next"])
    assert len(following.context["rows"]) == 10


@pytest.mark.django_db(transaction=True)
def test_two_bulk_actions_at_once_wait_for_each_other() -> None:
    """In opposite orders over the same threads: rows locked as they come would deadlock."""
    world = factories.make_world()
    sam, tim, ada = (world.member(name) for name in ("sam", "tim", "ada"))
    chosen = numbers([factories.make_thread(sam, f"Question {n} of many") for n in range(12)])
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work(by: Member, order: list[int], acts: list[str]) -> None:
        try:
            start.wait(timeout=10)
            for act in acts * 3:
                actions.do_to_threads(by=by, numbers=order, act=actions.BULK_ACTS[act])
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    jobs = [
        (tim, chosen, ["lock", "unlock"]), (ada, chosen[::-1], ["pin", "unpin"]),
        (tim, chosen[::-1], ["resolve", "reopen"]), (ada, chosen[5:] + chosen[:5], ["delete", "restore"]),
    ]  # fmt: skip
    workers = [threading.Thread(target=work, args=job) for job in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    # Deleting refuses the others for a moment, in words; nothing deadlocks.
    assert all(isinstance(error, access.Refused) for error in errors), errors
    assert Tag.objects.count() == Assignment.objects.count() == 0
