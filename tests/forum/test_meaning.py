"""What threads ask, as vectors: made in the background, kept up to date, compared through visible_to()."""

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.access import Member
from accounts.models import User
from forum import actions
from forum.actions import indexing
from forum.models import Thread, ThreadVector
from forum.search import Likeness, meaning, similar_threads
from quokkaq.lib import embedding
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
TITLE = "How do I find out how many items my list holds?"
SAME = "Getting the number of elements in a list"


@pytest.fixture(autouse=True)
def weights() -> None:
    if embedding.local_embedder() is None:
        pytest.fail("The weights aren't installed: run `make test`.")


@pytest.fixture
def asked(sam: Member) -> Thread:
    factories.make_thread(sam, "When is the second lab due?")
    thread = factories.make_thread(sam, TITLE, "I tried **size** and nothing came.")
    actions.index_threads()
    return thread


def test_the_same_question_in_other_words_is_found(noor: Member, asked: Thread) -> None:
    found = similar_threads(noor, title=SAME)
    assert found[0].thread == asked
    assert found[0].share < 0.5
    assert found[0].cosine is not None
    assert found[0].cosine > 0.6
    assert found[0].is_worth_showing


def test_a_text_helps_to_find_it(noor: Member, asked: Thread) -> None:
    title_only = meaning.nearest(noor, "A question about lists", "")[asked.pk]
    with_text = meaning.nearest(
        noor, "A question about lists", "I want to know how many items it holds, and size fails."
    )
    assert title_only.whole == title_only.title
    assert with_text[asked.pk].whole > with_text[asked.pk].title
    assert with_text[asked.pk].title == pytest.approx(title_only.title, abs=1e-3)


@pytest.mark.parametrize(
    ("one", "other", "likeness"),
    [
        ("How can I install Python 3 on Windows?", "How do I install Python 3 on Windows?", Likeness.SEVERE),
        ("How can I install Python 3 on Windows?", "How do I install Python 2 on Windows?", Likeness.RELATED),
        ("Why does my loop stop early?", "Why does my loop not stop early?", Likeness.LIKELY),
        ("How can I install Python 3 on Windows?", "Where is the exam on Friday?", Likeness.RELATED),
    ],
)
def test_numbers_and_negations_make_it_less_sure(
    sam: Member, noor: Member, one: str, other: str, likeness: Likeness
) -> None:
    factories.make_thread(sam, one)
    actions.index_threads()
    assert similar_threads(noor, title=other)[0].likeness == likeness


def test_a_new_thread_is_compared_once_its_task_has_run(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam, TITLE)
    assert not ThreadVector.objects.exists()
    run_tasks()
    assert ThreadVector.objects.get().thread == thread
    assert similar_threads(noor, title=SAME)[0].thread == thread


def test_an_edited_or_moved_thread_is_compared_by_what_it_says_now(
    sam: Member, noor: Member, asked: Thread, world: World
) -> None:
    before = meaning.nearest(noor, SAME, "")[asked.pk].title
    asked = actions.edit_thread(by=sam, thread=asked, title="Where do quokkas live?", body="I wonder.", tags=())
    assert meaning.threads_to_index(10) == [asked.pk]
    assert actions.index_threads() == 1
    assert actions.index_threads() == 0
    assert meaning.nearest(noor, SAME, "")[asked.pk].title < before - 0.3
    Thread.objects.filter(pk=asked.pk).update(course=world.other_course)
    ThreadVector.objects.update(model="another")
    assert actions.index_threads() == 2
    assert ThreadVector.objects.get(thread=asked).course == world.other_course


def test_many_threads_are_compared_in_turns(sam: Member, asked: Thread, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tasks()
    assert not actions.enqueue_missing_threads()
    ThreadVector.objects.all().delete()
    monkeypatch.setattr(indexing, "BATCH", 1)
    assert actions.enqueue_missing_threads()
    assert not actions.enqueue_missing_threads(), "its job waits already"
    assert run_tasks("forum.index_missing_threads") == ["forum.index_missing_threads"] * 3
    assert ThreadVector.objects.count() == 2


def test_only_what_one_may_read_is_near(world: World, asked: Thread, sam: Member, noor: Member, tim: Member) -> None:
    private = factories.make_thread(sam, TITLE, visibility="staff")
    foreign = factories.make_thread(world.member("eve", world.foreign_course), TITLE)
    deleted = factories.make_thread(sam, TITLE)
    actions.delete_thread(by=sam, thread=deleted)
    actions.index_threads()
    assert {private.pk, asked.pk} <= set(meaning.nearest(tim, SAME, ""))
    assert private.pk in meaning.nearest(sam, SAME, "")
    near = set(meaning.nearest(noor, SAME, ""))
    assert asked.pk in near
    assert not {private.pk, foreign.pk, deleted.pk} & near
    for row in ThreadVector.objects.all():
        assert str(row)
    assert list(ThreadVector.objects.visible_to(noor).filter(thread=private)) == []


def test_without_the_weights_the_words_decide(asked: Thread, noor: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "local_embedder", lambda: None)
    assert meaning.index_threads([asked.pk]) == 0
    assert meaning.threads_to_index(5) == []
    found = similar_threads(noor, title=TITLE)
    assert found[0].thread == asked
    assert found[0].cosine is None
    assert found[0].likeness == Likeness.SEVERE


def test_there_is_no_embedder_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PACKAGE", "no_such_package")
    embedding.local_embedder.cache_clear()
    try:
        assert embedding.local_embedder() is None
    finally:
        monkeypatch.undo()
        embedding.local_embedder.cache_clear()
