"""Threads that staff endorsed are sources: they follow what happens in the forum, and nothing private gets into them."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import Role, User
from ai_answers import actions
from ai_answers.actions import thread_sources
from ai_answers.models import Citation, Material, MaterialKind, MaterialVersion, Passage
from ai_answers.search import Question, retrieve
from forum import actions as forum
from forum.models import Kind, Post, Thread, Visibility
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
ANSWER = "A wombat digs burrows because its claws and its backward pouch allow it."


@pytest.fixture
def reply(noor: Member, sam: Member) -> Post:
    thread = factories.make_thread(sam, "Why do wombats dig?", "I saw one digging all night.")
    factories.make_post(sam, thread, "An unendorsed guess.")
    return factories.make_post(noor, thread, ANSWER)


def endorse(by: Member, post: Post, on: bool = True) -> None:
    forum.set_endorsement(by=by, post=post, on=on)
    run_tasks()


def source() -> Material | None:
    return Material.objects.filter(kind=MaterialKind.THREAD, deleted_at=None).first()


def text() -> str:
    material = source()
    assert material is not None
    assert material.current_version is not None
    return material.current_version.text


def test_an_endorsed_reply_makes_its_thread_a_source_without_names(reply: Post, tim: Member) -> None:
    assert source() is None
    endorse(tim, reply)
    assert text() == f"# Why do wombats dig?\n\nI saw one digging all night.\n\n## Answer\n\n{ANSWER}\n"
    assert [p.heading for p in Passage.objects.current()] == ["Why do wombats dig?", "Why do wombats dig? · Answer"]
    actions.refresh_thread_source(reply.thread_id)
    assert MaterialVersion.objects.count() == 1
    endorse(tim, reply, on=False)
    assert source() is None
    endorse(tim, reply)
    assert ANSWER in text()


def test_what_staff_wrote_counts_once_it_is_accepted(sam: Member, tim: Member, noor: Member) -> None:
    thread = factories.make_thread(sam, "Why do wombats dig?")
    by_staff, by_student = factories.make_post(tim, thread, ANSWER), factories.make_post(noor, thread, "Guess.")
    run_tasks()
    assert source() is None
    forum.accept_answer(by=sam, post=by_student, accepted=True)
    run_tasks()
    assert source() is None
    forum.accept_answer(by=sam, post=by_staff, accepted=True)
    run_tasks()
    assert ANSWER in text()
    forum.accept_answer(by=sam, post=by_staff, accepted=False)
    run_tasks()
    assert source() is None


def test_edits_and_deletions_are_followed(reply: Post, sam: Member, noor: Member, tim: Member) -> None:
    endorse(tim, reply)
    forum.edit_post(by=noor, post=reply, body="They dig for shelter from the heat.")
    forum.edit_thread(by=sam, thread=reply.thread, title="Why do they dig?", body="Wombats.", tags=[])
    run_tasks()
    assert text() == "# Why do they dig?\n\nWombats.\n\n## Answer\n\nThey dig for shelter from the heat.\n"
    assert source() is not None
    # What nobody quotes isn't kept: the thread has its own history.
    assert MaterialVersion.objects.count() == 1
    turns: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: forum.restore_post(by=noor, post=reply), lambda: forum.delete_post(by=noor, post=reply)),
        (
            lambda: forum.restore_thread(by=tim, thread=reply.thread),
            lambda: forum.delete_thread(by=tim, thread=reply.thread),
        ),
    ]
    for undo, act in turns:
        act()
        run_tasks()
        assert source() is None
        undo()
        run_tasks()
        assert source() is not None


def test_what_is_hidden_or_made_private_is_no_source(
    reply: Post, tim: Member, noor: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Material] = []
    monkeypatch.setattr(thread_sources, "enqueue_recheck", lambda *, material: checked.append(material))
    endorse(tim, reply)
    thread = reply.thread
    forum.refile_thread(by=tim, thread=thread, kind=Kind.QUESTION, visibility=Visibility.STAFF)
    run_tasks()
    assert source() is None
    assert len(checked) == 1
    thread.refresh_from_db()
    forum.open_thread(by=Member(thread.author, thread.course, Role.STUDENT), thread=thread)  # type: ignore[arg-type]  # it has an author
    run_tasks()
    assert source() is not None
    forum.hide_text(by=tim, text=reply, reason="No.")
    run_tasks()
    assert source() is None
    assert len(checked) == 2


def test_a_private_thread_never_becomes_a_source(sam: Member, tim: Member, ada: Member) -> None:
    thread = factories.make_thread(sam, "My grade, please", "CANARY", visibility=Visibility.STAFF)
    endorse(ada, factories.make_post(tim, thread, ANSWER))
    actions.refresh_thread_source(thread.pk)
    assert not Material.objects.exists()
    assert actions.refresh_missing_sources() == 0


def test_merged_threads_follow_their_replies(reply: Post, sam: Member, tim: Member) -> None:
    endorse(tim, reply)
    target = factories.make_thread(sam, "Wombats and their burrows", "Both of them.")
    merge = forum.merge_threads(by=tim, source=reply.thread, target=target)
    run_tasks()
    assert text().startswith("# Wombats and their burrows\n")
    forum.undo_merge(by=tim, merge=merge)
    run_tasks()
    assert text().startswith("# Why do wombats dig?\n")
    assert Material.objects.filter(deleted_at=None).count() == 1


def test_a_moved_thread_is_a_source_where_it_stands_now(reply: Post, world: World, tim: Member) -> None:
    endorse(tim, reply)
    for name in ("tim", "sam", "noor"):
        factories.enroll(world.user(name), world.other_course, Role.TA if name == "tim" else Role.STUDENT)
    forum.move_thread(by=tim, thread=reply.thread, to=world.member("tim", world.other_course))
    run_tasks()
    material = source()
    assert material is not None
    assert material.course == world.other_course
    noor = world.member("noor")
    assert not Passage.objects.visible_to(noor).exists()
    assert Passage.objects.visible_to(world.member("noor", world.other_course)).current().exists()


def test_a_source_leads_to_its_thread_and_is_listed_nowhere_else(
    reply: Post, world: World, signed_in: SignIn, tim: Member, noor: Member
) -> None:
    endorse(tim, reply)
    material = source()
    assert material is not None
    passage = Passage.objects.visible_to(noor).current().with_source().get(heading__endswith="Answer")
    assert passage.source_url("cs-101") == f"/c/cs-101/{reply.thread.number}/"
    assert retrieve(Question("Why does a wombat dig burrows?"), member=noor).passages
    client = signed_in(world.user("tim"))
    assert "wombats" not in client.get("/c/cs-101/materials/").content.decode()
    for name in ("material", "material-versions", "delete-material", "add-version", "material-file"):
        assert client.get(reverse(f"ai_answers:{name}", args=["cs-101", material.pk])).status_code == 404
    found = client.get("/c/cs-101/search/?q=wombat+burrows")
    assert f"/materials/{material.pk}" not in found.content.decode()


def test_only_who_may_read_the_thread_may_read_the_source(reply: Post, world: World, tim: Member, noor: Member) -> None:
    endorse(tim, reply)
    eve, pat = world.member("eve", world.foreign_course), world.member("pat", world.other_course)
    assert Passage.objects.visible_to(noor).exists()
    assert not Passage.objects.visible_to(eve).exists()
    assert not Passage.objects.visible_to(pat).exists()
    # Before the task has run, too.
    Thread.objects.update(visibility=Visibility.STAFF, author=world.user("sam"))
    assert not Passage.objects.visible_to(noor).exists()


def test_an_earlier_text_is_kept_while_an_answer_quotes_it(reply: Post, sam: Member, noor: Member, tim: Member) -> None:
    endorse(tim, reply)
    version = MaterialVersion.objects.get()
    asked = factories.make_thread(sam, "Do wombats dig burrows?")
    answer = factories.put_answer(asked, "published")
    quote = ANSWER[:20]
    start = version.text.index(quote)
    Citation.objects.create(
        institution_id=asked.institution_id, answer=answer, number=1, version=version, start=start,
        end=start + len(quote), quote=quote,
    )  # fmt: skip
    forum.edit_post(by=noor, post=reply, body="Because they like it under the ground.")
    actions.refresh_thread_source(reply.thread_id)
    for kept in MaterialVersion.objects.all():
        actions.index_version(kept.pk)
    assert MaterialVersion.objects.filter(pk=version.pk).exists()


def test_upkeep_finds_endorsed_threads_that_are_no_sources_yet(
    reply: Post, tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: Any, **kwargs: Any) -> None:
        """As if the thread had been endorsed before there were sources."""

    with monkeypatch.context() as patch:
        patch.setattr(thread_sources, "_enqueue", lost)
        endorse(tim, reply)
    assert source() is None
    assert actions.refresh_missing_sources() == 1
    run_tasks()
    assert source() is not None
    assert actions.refresh_missing_sources() == 0


def test_a_thread_that_is_gone_is_no_source(reply: Post, tim: Member) -> None:
    endorse(tim, reply)
    key = reply.thread_id
    Thread.objects.all().update(accepted_post=None)
    Thread.objects.filter(pk=key).delete()
    actions.refresh_thread_source(key)
    assert source() is None
