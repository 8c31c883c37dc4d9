"""Cards that are kept are those that would be made anew: for every reader, after every change."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from accounts.models import Course, Enrollment, User
from forum import actions
from forum.models import FlagReason, Post, Pseudonym, Thread
from quokkaq.lib import fragments
from quokkaq.lib.fragments import fragment, hole
from tests import factories
from tests.factories import World

pytestmark = pytest.mark.django_db

READERS = ("sam", "lena", "tim", "carl")
# What differs between two requests for the same page.
TOKENS = re.compile(r'value="[A-Za-z0-9]{64}"|name="form_key" value="[0-9a-f-]{36}"|<code>[0-9a-f]{32}</code>')


class Forgetful:
    """Keeps nothing."""

    def get(self, key: object) -> None:
        return None

    def put(self, key: object, html: SafeString) -> None:
        pass


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> fragments._Kept:
    made = fragments._Kept(fragments.MAX_BYTES)
    monkeypatch.setattr(fragments, "_kept", made)
    return made


@pytest.fixture
def clients(world: World, signed_in: Callable[[User], Client]) -> dict[str, Client]:
    # She reads, and has written nothing.
    world.people["lena"] = factories.make_user(world.institution, "lena")
    factories.enroll(world.people["lena"], world.course)
    return {name: factories.browser(world.user(name)) for name in READERS}


@pytest.fixture
def thread(world: World) -> Thread:
    sam, noor, tim = world.member("sam"), world.member("noor"), world.member("tim")
    thread = factories.make_thread(sam, "Why does this happen?", anonymity="classmates")
    first = factories.make_post(noor, thread, "Because of that.", anonymity="all")
    factories.make_post(world.member("ada"), thread, "It is so.")
    factories.make_post(sam, thread, "Is it?", parent=first)
    actions.set_endorsement(by=tim, post=first, on=True)
    # So that what is said of times doesn't change meanwhile.
    Post.objects.update(created_at=timezone.now() - timedelta(days=2, hours=12))
    long_ago = timezone.now() - timedelta(days=3, hours=12)
    Thread.objects.update(created_at=long_ago, last_activity_at=long_ago)
    return thread


def shown(clients: dict[str, Client], thread: Thread, monkeypatch: pytest.MonkeyPatch, *, anew: bool) -> dict[str, str]:
    pages = {}
    for name, client in clients.items():
        for address in (f"/c/cs-101/{thread.number}/", "/c/cs-101/"):
            if anew:
                with monkeypatch.context() as patched:
                    patched.setattr(fragments, "_kept", Forgetful())
                    response = client.get(address)
            else:
                response = client.get(address)
            pages[f"{name} {address}"] = f"{response.status_code} {TOKENS.sub('', response.content.decode())}"
    return pages


def change(model: Any, **fields: Any) -> Callable[[Thread], None]:
    """Change rows without their code: what is kept must not hang on who changes them."""

    def changed(thread: Thread) -> None:
        rows = model.objects.all()
        if model is Post:
            rows = rows.filter(thread=thread)
        rows.update(**fields)

    return changed


def first(**fields: Any) -> Callable[[Thread], None]:
    def changed(thread: Thread) -> None:
        post = Post.objects.filter(thread=thread, parent=None).earliest("pk")
        Post.objects.filter(pk=post.pk).update(**fields)

    return changed


def accepted(thread: Thread) -> None:
    post = Post.objects.filter(thread=thread, parent=None).earliest("pk")
    Thread.objects.filter(pk=thread.pk).update(accepted_post=post)


def pseudonym(thread: Thread) -> None:
    Pseudonym.objects.filter(thread=thread, user=thread.author).update(name="Quiet Quokka")


def erased(thread: Thread) -> None:
    User.objects.filter(display_name__startswith="Ada").update(erased_at=timezone.now(), is_active=False)


LATER = timezone.now() + timedelta(days=2)
EARLIER = timezone.now() - timedelta(days=40)
CHANGES: dict[str, Callable[[Thread], None]] = {
    "text": first(body_html="<p>Something else entirely.</p>"),
    "text of all": change(Post, body_html="<p>All say this.</p>"),
    "edited": first(edited_at=timezone.now()),
    "older": change(Post, created_at=EARLIER),
    "deleted": first(deleted_at=timezone.now()),
    "hidden": first(moderation="hidden", moderation_reason="Not kind."),
    "waiting": first(moderation="pending"),
    "a word of staff": first(moderation_reason="Approved, with thanks."),
    "votes": first(vote_count=7),
    "endorsements": first(endorsement_count=0),
    "by staff": first(is_by_staff=True),
    "accepted": accepted,
    "locked": change(Thread, is_locked=True),
    "pinned": change(Thread, is_pinned=True),
    "resolved": change(Thread, status="resolved"),
    "title": change(Thread, title="Another title altogether"),
    "question": change(Thread, body_html="<p>Another question.</p>"),
    "an announcement": change(Thread, kind="announcement"),
    "for staff only": change(Thread, visibility="staff"),
    "thread hidden": change(Thread, moderation="hidden"),
    "readers": change(Thread, reader_count=41),
    "same question": change(Thread, same_count=4),
    "thread votes": change(Thread, vote_count=3),
    "renamed": change(User, display_name="Somebody Else"),
    "pictured": change(User, avatar="avatars/abc.webp"),
    "erased": erased,
    "pseudonym": pseudonym,
    "archived": change(Course, status="archived"),
    "exam": change(Course, posting_closed_until=LATER),
    "approval": change(Course, posting_policy="approve"),
    "no hiding": change(Course, anonymity_policy="named"),
    "demoted": change(Enrollment, role="student"),
    "promoted": change(Enrollment, role="instructor"),
    "banned": change(Enrollment, is_banned=True, ban_reason="Rude."),
    "elsewhere": change(User, time_zone="Asia/Kathmandu"),
}


def test_what_is_kept_is_what_would_be_made_anew(
    thread: Thread, clients: dict[str, Client], kept: fragments._Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What waits is said to be late after half a minute.
    monkeypatch.setattr("ai_answers.views.answers.LATE_AFTER_SECONDS", 10_000)
    before = shown(clients, thread, monkeypatch, anew=False)
    assert len(kept._young) > 5
    sessions = {name: client.cookies[settings.SESSION_COOKIE_NAME].value for name, client in clients.items()}
    for what, make in CHANGES.items():
        # Who became staff got a new session, which is taken back as well.
        for name, client in clients.items():
            client.cookies[settings.SESSION_COOKIE_NAME] = sessions[name]
        with transaction.atomic():
            make(thread)
            after = shown(clients, thread, monkeypatch, anew=False)
            anew = shown(clients, thread, monkeypatch, anew=True)
            transaction.set_rollback(True)
        for page, html in after.items():
            assert html == anew[page], f"{what}: {page}"
        assert before != after, what
        assert any(html.startswith("200") for html in after.values()), what
    for name, client in clients.items():
        client.cookies[settings.SESSION_COOKIE_NAME] = sessions[name]
    assert shown(clients, thread, monkeypatch, anew=False) == before


@pytest.mark.parametrize("what", ["vote", "draft", "follow", "endorse", "flag", "same"])
def test_what_one_reader_does_shows_on_their_pages(
    what: str,
    thread: Thread,
    world: World,
    clients: dict[str, Client],
    kept: fragments._Kept,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown(clients, thread, monkeypatch, anew=False)
    post = Post.objects.filter(thread=thread, parent=None).earliest("pk")
    noor, tim, sam = world.member("noor"), world.member("tim"), world.member("sam")
    match what:
        case "vote":
            actions.set_vote(by=sam, target=post, on=True)
        case "draft":
            clients["sam"].post(f"/c/cs-101/{thread.number}/posts/{post.pk}/draft/", {"body": "A comment kept"})
            clients["lena"].post(f"/c/cs-101/{thread.number}/draft/", {"body": "A reply kept"})
            shown(clients, thread, monkeypatch, anew=False)  # it is said once that they were
        case "follow":
            actions.set_follow(by=noor, thread=thread, state=None)
        case "endorse":
            actions.set_endorsement(by=tim, post=post, on=False)
        case "flag":
            actions.flag_text(by=sam, text=post, reason=FlagReason.OTHER)
        case "same":
            actions.set_same_question(by=noor, thread=thread, on=True)
    after = shown(clients, thread, monkeypatch, anew=False)
    for page, html in shown(clients, thread, monkeypatch, anew=True).items():
        assert html == after[page], page


def test_those_who_may_do_the_same_are_shown_the_same_card(
    thread: Thread, world: World, signed_in: Callable[[User], Client], kept: fragments._Kept
) -> None:
    people = [factories.make_user(world.institution, f"reader{n}") for n in range(2)]
    for person in people:
        factories.enroll(person, world.course)
    pages, sizes = [], []
    for person in people:
        pages.append(factories.browser(person).get(f"/c/cs-101/{thread.number}/").content.decode())
        sizes.append(sum(key[0] == "forum/_answer.html" for key in kept._young))  # type: ignore[index]  # keys are tuples, typed as what they are for others
    assert sizes[0] == sizes[1] == 2
    assert "reader1" not in pages[0].lower()


# The fragments themselves


def test_a_fragment_is_rendered_once_for_what_it_shows(kept: fragments._Kept) -> None:
    def row(**changes: Any) -> str:
        return fragment("components/avatar.html", **({"person": None} | changes))

    assert row() == row()
    assert len(kept._young) == 1


def test_text_isnt_taken_for_markup_that_reads_the_same(kept: fragments._Kept, settings: Any, tmp_path: Any) -> None:
    (tmp_path / "shown.html").write_text("{{ text }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    safe = fragment("shown.html", text=mark_safe("<b>bold</b>"))
    typed = fragment("shown.html", text="<b>bold</b>")
    assert safe == "<b>bold</b>"
    assert typed == "&lt;b&gt;bold&lt;/b&gt;"


def test_holes_are_filled_each_time_and_nobody_can_write_one(
    kept: fragments._Kept, settings: Any, tmp_path: Any
) -> None:
    (tmp_path / "shown.html").write_text("{{ text }} {{ token }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    shown = [
        fragment("shown.html", holes={"csrf": token}, text="hole-csrf", token=hole("csrf")) for token in ("one", "two")
    ]
    assert shown == ["hole-csrf one", "hole-csrf two"]
    assert len(kept._young) == 1
    assert fragments._SECRET not in "".join(shown)


def test_no_hole_is_left_in_a_page(thread: Thread, clients: dict[str, Client], kept: fragments._Kept) -> None:
    for client in clients.values():
        for address in (f"/c/cs-101/{thread.number}/", "/c/cs-101/", "/c/cs-101/ask/", "/"):
            assert "hole-" not in client.get(address).content.decode()


def test_no_more_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = fragments._Kept(100_000)
    for number in range(1000):
        kept.put(number, SafeString("x" * 1000))
        assert sum(len(html) for html in (*kept._young.values(), *kept._old.values())) < 100_000
    assert kept.get(999)
    assert kept.get(0) is None
    kept.put("used", SafeString("y"))
    for number in range(60):
        kept.put(number, SafeString("x" * 1000))
        assert kept.get("used") == "y"


QUEUED: dict[str, Callable[[Thread], None]] = {
    name: CHANGES[name]
    for name in ("title", "renamed", "pictured", "elsewhere", "archived", "question", "for staff only")
} | {
    "waits longer": change(Thread, created_at=EARLIER),
    "same question by many": change(Thread, same_count=9),
    "read by many": change(Thread, reader_count=70),
    "taken": lambda thread: (
        Thread.objects.filter(pk=thread.pk).update(assignee=User.objects.get(display_name__startswith="Ada")) and None
    ),
    "tagged": lambda thread: thread.tags.add(
        factories.make_tag(thread.course, "exam"), through_defaults={"institution": thread.institution}
    ),
}


@pytest.mark.parametrize("what", list(QUEUED))
def test_rows_of_the_queue_that_are_kept_are_those_that_would_be_made_anew(
    what: str, world: World, clients: dict[str, Client], kept: fragments._Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody has answered this one.
    thread = factories.make_thread(world.member("sam"), "Why does that happen?", anonymity="classmates")
    clients = {"tim": clients["tim"], "ada": factories.browser(User.objects.get(display_name__startswith="Ada"))}

    def queues(*, anew: bool) -> dict[str, str]:
        with monkeypatch.context() as patched:
            if anew:
                patched.setattr(fragments, "_kept", Forgetful())
            responses = {name: client.get("/c/cs-101/queue/") for name, client in clients.items()}
        assert all(response.status_code == 200 for response in responses.values())
        return {name: TOKENS.sub("", response.content.decode()) for name, response in responses.items()}

    before = queues(anew=False)
    assert thread.title in before["tim"]
    assert before["tim"] != before["ada"]
    assert len(kept._young) > 1
    assert queues(anew=False) == before
    QUEUED[what](thread)
    after = queues(anew=False)
    assert after == queues(anew=True)
    assert after != before
