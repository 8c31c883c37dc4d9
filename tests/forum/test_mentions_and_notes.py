"""Calling people by name, pointing at threads, joining a question, and what staff note among themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, EnrollmentStatus, User
from forum import access, actions
from forum.differences import Stretch, difference
from forum.models import Anonymity, Mention, Post, SameQuestion, StaffNote, Thread
from forum.signals import people_mentioned, same_question_asked
from quokkaq.lib.markdown import References, render
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]


@pytest.fixture
def told() -> Any:
    """Collect who is said to have been called by name."""
    found: list[set[str]] = []

    def listen(people: list[User], **rest: Any) -> None:
        found.append({person.email.split("@")[0] for person in people})

    people_mentioned.connect(listen)
    yield found
    people_mentioned.disconnect(listen)


def test_references_are_links_and_names_are_marked_but_not_in_code() -> None:
    html = render("#7, `#8`, [#9](https://a.b), x#1 and @ADA, `@ada` a@ada @adam", References("/c/x/", ["Ada"]))
    assert 'href="/c/x/7/"' in html
    assert 'href="/c/x/8/"' not in html
    assert html.count("<a ") == 2
    assert html.count('class="mention"') == 1
    assert ">@ADA</span>" in html
    assert 'href="https://a.b"' in render("[a]: https://a.b\n\n[a] #1 $\\frac{$", References("/c/x/"))
    assert "reference" not in render("#7 and @Ada")


def test_a_name_cannot_smuggle_markup_in() -> None:
    name = '<img src=x onerror=alert(1)> "&'
    html = render(f"Hello @{name} there", References("/c/x/", [name]))
    assert "<img" not in html
    assert 'class="mention"' in html


def test_who_is_called_is_told_once_and_not_by_themselves(sam: Member, noor: Member, told: list[set[str]]) -> None:
    thread = factories.make_thread(sam, body="@Noor Surname-noor and @sam surname-SAM and @Nobody")
    assert told == [{"noor"}]
    assert thread.body_html.count('class="mention"') == 2
    actions.edit_thread(by=sam, thread=thread, title="Another title", body=thread.body + " @Tim Surname-tim", tags=[])
    assert told == [{"noor"}, {"tim"}]
    post = factories.make_post(noor, thread, "@Sam Surname-sam look")
    actions.edit_post(by=noor, post=post, body="@Sam Surname-sam look again")
    assert told[2:] == [{"sam"}]
    assert str(Mention.objects.first())
    assert list(Mention.objects.visible_to(noor)) == [Mention.objects.get(user=noor.user)]


def test_only_those_who_may_read_are_called(world: World, sam: Member, tim: Member, told: list[set[str]]) -> None:
    text = "@Noor Surname-noor @Sam Surname-sam @Tim Surname-tim @Pat Surname-pat @Eve Surname-eve @Dana Surname-dana"
    private = factories.make_thread(sam, body=text, visibility="staff")
    factories.make_post(tim, private, text)
    factories.make_thread(tim, body=text)
    assert told == [{"tim"}, {"sam"}, {"noor", "sam"}]


def test_a_private_thread_does_not_say_who_asked_by_marking_the_name(
    sam: Member, tim: Member, told: list[set[str]]
) -> None:
    hidden = factories.make_thread(sam, visibility="staff", anonymity="all")
    post = factories.make_post(tim, hidden, "Is this you, @Sam Surname-sam? @Noor Surname-noor?")
    assert 'class="mention"' not in post.body_html
    assert told == []
    post = factories.make_post(tim, hidden, f"Thanks, @{hidden.pseudonym}.")
    assert told == [{"sam"}]
    assert "Surname-sam" not in post.body_html
    shown = factories.make_thread(sam, visibility="staff", anonymity="classmates")
    assert 'class="mention"' in factories.make_post(tim, shown, "@Sam Surname-sam").body_html


def test_a_pseudonym_answers_without_saying_whose_it_is(
    world: World, signed_in: SignIn, sam: Member, noor: Member, told: list[set[str]]
) -> None:
    thread = factories.make_thread(sam, anonymity=Anonymity.ALL)
    factories.make_post(noor, thread, f"@{thread.pseudonym} try again")
    assert told == [{"sam"}]
    page = signed_in(world.user("noor")).get(reverse("forum:thread", args=["cs-101", 1])).content.decode()
    assert "Surname-sam" not in page


def test_the_preview_marks_names_and_links(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    page = client.post(
        reverse("forum:preview", args=["cs-101"]), {"body": "@Ada Surname-ada @Eve Surname-eve @Dana Surname-dana #3"}
    ).content.decode()
    assert page.count('class="mention"') == 1
    assert 'href="/c/cs-101/3/"' in page


def test_a_link_to_a_thread_somebody_may_not_see_leads_nowhere(world: World, signed_in: SignIn, sam: Member) -> None:
    secret = factories.make_thread(sam, "A private matter", visibility="staff")
    factories.make_thread(sam, body=f"As in #{secret.number}")
    client = signed_in(world.user("noor"))
    page = client.get(reverse("forum:thread", args=["cs-101", 2])).content.decode()
    assert "A private matter" not in page
    assert client.get("/c/cs-101/1/").status_code == 404


def test_text_rendered_by_an_older_version_gets_its_links(sam: Member) -> None:
    thread = factories.make_thread(sam, body="See #12")
    post = factories.make_post(sam, thread, "And #13")
    Thread.objects.update(html_version=0, body_html="old")
    Post.objects.update(html_version=0, body_html="old")
    thread.refresh_from_db()
    post.refresh_from_db()
    assert 'href="/c/cs-101/12/"' in thread.html()
    assert 'href="/c/cs-101/13/"' in post.html()


def test_having_the_same_question_counts_once_and_can_be_taken_back(
    world: World, signed_in: SignIn, sam: Member, noor: Member
) -> None:
    joined: list[str] = []

    def listen(by: Member, **rest: Any) -> None:
        joined.append(by.user.email)

    same_question_asked.connect(listen)
    thread = factories.make_thread(sam)
    client, url = signed_in(world.user("noor")), reverse("forum:same-question", args=["cs-101", 1])
    for _ in range(2):
        client.post(url, {"on": "1"})
    thread.refresh_from_db()
    assert thread.same_count == 1
    assert joined == ["noor@example.edu"]
    assert "Same question · 1" in client.get(reverse("forum:thread", args=["cs-101", 1])).content.decode()
    assert str(SameQuestion.objects.get())
    assert SameQuestion.objects.visible_to(noor).exists()
    assert not SameQuestion.objects.visible_to(sam).exists()
    client.post(url, {"on": "0"})
    thread.refresh_from_db()
    assert thread.same_count == 0
    same_question_asked.disconnect(listen)


@pytest.mark.parametrize("kind", ["own", "staff", "discussion", "archived", "deleted"])
def test_not_everything_is_a_question_to_join(world: World, sam: Member, noor: Member, tim: Member, kind: str) -> None:
    thread = factories.make_thread(sam, kind="discussion" if kind == "discussion" else "question")
    by = {"own": sam, "staff": tim}.get(kind, noor)
    if kind == "archived":
        factories.archive(world.course)
        by = world.member("noor")
    if kind == "deleted":
        actions.delete_thread(by=sam, thread=thread)
    with pytest.raises(PermissionDenied):
        actions.set_same_question(by=by, thread=thread, on=True)


def test_staff_notes_are_for_staff(world: World, signed_in: SignIn, sam: Member, tim: Member) -> None:
    thread = factories.make_thread(sam)
    staff, url = signed_in(world.user("tim")), reverse("forum:add-note", args=["cs-101", 1])
    page = reverse("forum:thread", args=["cs-101", 1])
    key = staff.get(page).context["note_form"].initial["form_key"]
    for _ in range(2):  # a double click
        staff.post(url, {"body": "Sam asked me **in person**", "form_key": key})
    note = StaffNote.objects.get()
    assert str(note)
    for reader, sees in (("tim", True), ("ada", True), ("sam", False), ("noor", False), ("carl", False)):
        assert ("in person" in signed_in(world.user(reader)).get(page).content.decode()) is sees, reader
    assert signed_in(world.user("sam")).post(url, {"body": "me too"}).status_code == 403
    thread.refresh_from_db()
    assert (thread.reply_count, thread.status) == (0, "open")
    with pytest.raises(Http404):
        access.get_staff_note(sam, thread, note.pk)
    ada = world.member("ada")
    with pytest.raises(PermissionDenied):
        actions.delete_staff_note(by=ada, note=note)
    staff.post(reverse("forum:delete-note", args=["cs-101", 1, note.pk]))
    assert "in person" not in staff.get(page).content.decode()
    assert AuditEvent.objects.filter(verb__in=["note.added", "note.deleted"]).count() == 2


def test_a_refused_note_stays_on_the_page(world: World, signed_in: SignIn, sam: Member) -> None:
    factories.make_thread(sam)
    client = signed_in(world.user("tim"))
    response = client.post(reverse("forum:add-note", args=["cs-101", 1]), {"body": "x" * 10_001})
    assert response.status_code == 422
    assert "x" * 10_001 in response.content.decode()


@pytest.mark.parametrize("who", ["sam", "archived", "deleted"])
def test_nobody_else_adds_notes(world: World, sam: Member, tim: Member, who: str) -> None:
    import uuid

    thread = factories.make_thread(sam)
    by = sam if who == "sam" else tim
    if who == "archived":
        factories.archive(world.course)
        by = world.member("tim")
    if who == "deleted":
        actions.delete_thread(by=sam, thread=thread)
    with pytest.raises(PermissionDenied):
        actions.add_staff_note(by=by, thread=thread, body="x", form_key=uuid.uuid4())


def test_somebody_gone_is_no_longer_called(world: World, sam: Member, told: list[set[str]]) -> None:
    enrollment = world.user("noor").enrollments.get()
    enrollment.status = EnrollmentStatus.DROPPED
    enrollment.save()
    factories.make_thread(sam, body="@Noor Surname-noor")
    assert told == []


def test_a_difference_shows_words_and_folds_what_stayed() -> None:
    before = "\n".join(["one", "two", "three", "four", "five", "six the old end"])
    after = before.replace("the old end", "the new end")
    parts = difference(before, after)
    assert parts[0] == Stretch("folded", lines=3)
    assert Stretch("removed", "old") in parts
    assert Stretch("added", "new") in parts
    assert difference("a b c d e f g h", "z y x w v u t s") == [
        Stretch("removed", "a b c d e f g h"), Stretch("added", "z y x w v u t s"),
    ]  # fmt: skip
    assert difference("same", "same") == [Stretch("same", "same")]
    assert difference("a\n", "a\nb") == [Stretch("same", "a\n"), Stretch("added", "b")]
    shown = difference("new\n" + "x\n" * 9, "old\n" + "x\n" * 9)
    assert shown[-1].kind == "folded"
