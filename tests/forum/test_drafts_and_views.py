"""What somebody hasn't posted yet is there when they come back; what they look at often has a name."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import User
from forum import actions
from forum.access import Refused
from forum.models import MAX_SAVED_VIEWS, Draft, SavedView
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
ASK = reverse("forum:ask", args=["cs-101"])
DRAFT = reverse("forum:draft-thread", args=["cs-101"])
LIST = reverse("forum:list", args=["cs-101"])
HTMX = {"HX-Request": "true"}


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("sam"))


def test_a_draft_survives_signing_out(world: World, client: Client, signed_in: SignIn) -> None:
    typed = {
        "title": "Half a ques",
        "body": "  Indented\nand more",
        "visibility": "staff",
        "anonymity": "all",
        "tags": ["x"],
    }
    assert "Draft saved" in client.post(DRAFT, typed, headers=HTMX).content.decode()
    client.post(reverse("accounts:sign-out"))
    page = signed_in(world.user("sam")).get(ASK)
    form = page.context["form"]
    assert form["title"].value() == "Half a ques"
    assert form["body"].value() == "  Indented\nand more"
    assert (form["visibility"].value(), form["anonymity"].value()) == ("staff", "all")
    assert "Your draft, kept" in page.content.decode()


def test_a_draft_is_its_writers_alone(world: World, client: Client, signed_in: SignIn) -> None:
    client.post(DRAFT, {"title": "Secret title"})
    for other in ("noor", "tim", "ada"):
        assert "Secret title" not in signed_in(world.user(other)).get(ASK).content.decode()


def test_posting_ends_the_draft(client: Client, world: World) -> None:
    client.post(DRAFT, {"title": "A whole question", "body": "Why?"})
    client.post(
        ASK,
        {"title": "A whole question", "body": "Why?", "kind": "question", "visibility": "course", "anonymity": "named"},
    )
    assert not Draft.objects.exists()


def test_drafts_of_replies_and_comments_come_back_with_the_name_they_hide(
    client: Client, world: World, noor: Member, signed_in: SignIn
) -> None:
    thread = factories.make_thread(noor)
    post = factories.make_post(noor, thread)
    page = reverse("forum:thread", args=["cs-101", 1])
    client.post(reverse("forum:draft-reply", args=["cs-101", 1]), {"body": "Half a reply", "anonymity": "classmates"})
    client.post(
        reverse("forum:draft-comment", args=["cs-101", 1, post.pk]), {"body": "Half a comment", "anonymity": "all"}
    )
    shown = client.get(page)
    html = shown.content.decode()
    assert "Half a reply" in html
    assert "Half a comment" in html
    assert shown.context["reply_form"]["anonymity"].value() == "classmates"
    assert '<option value="all" selected>' in html
    client.post(reverse("forum:reply", args=["cs-101", 1]), {"body": "A whole reply", "anonymity": "classmates"})
    client.post(reverse("forum:comment", args=["cs-101", 1, post.pk]), {"body": "A comment", "anonymity": "classmates"})
    assert not Draft.objects.exists()
    assert "Half a" not in client.get(page).content.decode()


def test_discarding_and_emptying_a_draft(client: Client) -> None:
    client.post(DRAFT, {"title": "Something"})
    response = client.post(DRAFT, {"title": "Something", "discard": "1"}, follow=True)
    assert "Draft discarded." in response.content.decode()
    assert not Draft.objects.exists()
    client.post(DRAFT, {"title": "Something"})
    client.post(DRAFT, {"title": "  ", "body": "\n"})
    assert not Draft.objects.exists()


def test_saving_again_replaces_and_the_page_says_so_without_script(client: Client) -> None:
    client.post(DRAFT, {"title": "First"})
    page = client.post(DRAFT, {"title": "Second"}, follow=True)
    assert page.redirect_chain[-1][0] == ASK
    assert "Draft saved. Only you see it." in page.content.decode()
    assert Draft.objects.get().fields["title"] == "Second"


@pytest.mark.parametrize("headers", [HTMX, {}])
def test_a_draft_without_end_is_refused_with_a_sentence(client: Client, headers: dict[str, str]) -> None:
    page = client.post(DRAFT, {"body": "x" * 60_000}, headers=headers, follow=True)
    assert "too long to be kept" in page.content.decode()
    assert not Draft.objects.exists()


def test_nul_characters_do_not_break_a_draft(client: Client) -> None:
    client.post(DRAFT, {"title": "a\x00b"})
    assert Draft.objects.get().fields["title"] == "ab"


def test_an_archived_course_takes_no_drafts(client: Client, world: World) -> None:
    factories.archive(world.course)
    assert client.post(DRAFT, {"title": "Something"}).status_code == 403


def test_a_view_is_kept_under_a_name(client: Client, world: World, signed_in: SignIn) -> None:
    save = reverse("forum:save-view", args=["cs-101"])
    page = client.post(save, {"name": "To read", "query": "show=unread&sort=top"}, follow=True)
    assert page.redirect_chain[-1][0] == f"{LIST}?show=unread&sort=top"
    assert '<a href="?show=unread&amp;sort=top" aria-current="true">To read</a>' in page.content.decode()
    assert "To read" not in signed_in(world.user("noor")).get(LIST).content.decode()
    client.post(save, {"name": "To read", "query": "show=unread"})
    view = SavedView.objects.get()
    assert view.query == "show=unread"
    assert str(view) == "To read"
    other = signed_in(world.user("noor"))
    assert other.post(reverse("forum:delete-view", args=["cs-101", view.pk])).status_code == 404
    client.post(reverse("forum:delete-view", args=["cs-101", view.pk]))
    assert not SavedView.objects.exists()


def test_a_view_needs_a_name_and_there_are_only_so_many(client: Client, sam: Member, noor: Member) -> None:
    save = reverse("forum:save-view", args=["cs-101"])
    assert "Give the view a name." in client.post(save, {"query": "show=mine"}, follow=True).content.decode()
    for number in range(MAX_SAVED_VIEWS):
        actions.save_view(by=sam, name=f"View {number}", query="")
    assert "Delete one first" in client.post(save, {"name": "One more"}, follow=True).content.decode()
    with pytest.raises(Refused):
        actions.save_view(by=sam, name="One more", query="")
    with pytest.raises(PermissionDenied):
        actions.delete_view(by=noor, view=SavedView.objects.first())  # type: ignore[arg-type]


def test_a_damaged_view_shows_the_whole_list(client: Client, sam: Member) -> None:
    actions.save_view(by=sam, name="Old", query="show=gone&tag=deleted")
    page = client.get(f"{LIST}?show=gone&tag=deleted")
    assert page.status_code == 400
    assert "There is no such filter" in page.content.decode()
