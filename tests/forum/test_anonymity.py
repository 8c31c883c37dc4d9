"""Who hides stays hidden, everywhere a name could show."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, User
from forum import actions
from forum.actions.threads import _ANIMALS, _MOODS, pseudonym_for
from forum.models import Anonymity, Byline, Pseudonym, Revision, Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]


def thread_pages(thread: Thread) -> list[str]:
    return [
        reverse("forum:list", args=["cs-101"]),
        reverse("forum:list", args=["cs-101"]) + "?show=unanswered",
        reverse("forum:thread", args=["cs-101", thread.number]),
        reverse("forum:thread-history", args=["cs-101", thread.number]),
    ]


def anonymous_thread(sam: Member, anonymity: str) -> Thread:
    thread = factories.make_thread(sam, anonymity=anonymity)
    actions.edit_thread(by=sam, thread=thread, title="Edited title", body="Edited body", tags=[])
    post = factories.make_post(sam, thread, anonymity=Anonymity(anonymity))
    actions.edit_post(by=sam, post=post, body="Edited reply")
    return thread


@pytest.mark.parametrize(
    ("anonymity", "reader", "sees_name"),
    [
        ("named", "noor", True), ("named", "tim", True),
        ("classmates", "noor", False), ("classmates", "tim", True), ("classmates", "carl", False),
        ("all", "noor", False), ("all", "tim", False), ("all", "ada", False),
    ],
)  # fmt: skip
def test_pages_show_the_name_only_to_whom_it_was_promised(
    world: World, signed_in: SignIn, sam: Member, anonymity: str, reader: str, sees_name: bool
) -> None:
    thread = anonymous_thread(sam, anonymity)
    client = signed_in(world.user(reader))
    for url in thread_pages(thread):
        page = client.get(url).content.decode()
        leaks = [word for word in ("Surname-sam", "sam@example.edu", str(sam.user.pk)) if word in page]
        assert (leaks == []) or sees_name, (url, leaks)
    if sees_name:
        assert "Surname-sam" in client.get(thread_pages(thread)[2]).content.decode()


def test_the_check_above_finds_a_planted_leak(
    world: World, signed_in: SignIn, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = anonymous_thread(sam, "all")
    monkeypatch.setattr(Thread, "byline", lambda self, member: Byline(self.author.display_name))
    page = signed_in(world.user("noor")).get(thread_pages(thread)[0]).content.decode()
    assert "Surname-sam" in page


def test_a_pseudonym_is_stable_in_a_thread_and_tells_people_apart(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam, anonymity="all")
    mine = [factories.make_post(sam, thread, f"Me {n}", anonymity=Anonymity.ALL) for n in range(2)]
    hers = factories.make_post(noor, thread, "And I", anonymity=Anonymity.CLASSMATES)
    assert {post.pseudonym_id for post in mine} == {thread.pseudonym_id}
    assert hers.pseudonym is not None
    assert thread.pseudonym is not None
    assert hers.pseudonym.name != thread.pseudonym.name
    assert list(Pseudonym.objects.visible_to(sam)) == [thread.pseudonym]


def test_names_never_run_out(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam)
    Pseudonym.objects.bulk_create(
        Pseudonym(institution=thread.institution, thread=thread, name=f"{mood} {animal}")
        for mood in _MOODS
        for animal in _ANIMALS
    )
    assert pseudonym_for(noor, thread, Anonymity.ALL).name.startswith("Quokka ")


def test_audit_and_revisions_do_not_name_an_anonymous_author(sam: Member, tim: Member) -> None:
    thread = anonymous_thread(sam, "all")
    actions.set_resolved(by=sam, thread=thread, resolved=True)
    actions.delete_thread(by=sam, thread=thread)
    actions.restore_thread(by=sam, thread=thread)
    assert AuditEvent.objects.count() >= 5
    assert not AuditEvent.objects.filter(actor=sam.user).exists()
    assert not Revision.objects.filter(editor=sam.user).exists()
    # What staff do to it is theirs to answer for.
    actions.set_pinned(by=tim, thread=thread, pinned=True)
    assert AuditEvent.objects.filter(actor=tim.user, verb="thread.pinned").exists()


def test_a_deleted_author_leaves_the_text(sam: Member, noor: Member) -> None:
    named, hidden = factories.make_thread(sam), factories.make_thread(sam, anonymity="all")
    sam.user.delete()
    for thread in (named, hidden):
        thread.refresh_from_db()
    assert named.byline(noor).name == "Deleted user"
    assert hidden.pseudonym is not None
    assert hidden.byline(noor).name == hidden.pseudonym.name


def test_deleting_a_thread_for_good_takes_its_pseudonyms_along(sam: Member) -> None:
    thread = anonymous_thread(sam, "all")
    Thread.objects.filter(pk=thread.pk).delete()
    assert not Pseudonym.objects.exists()


def test_the_asker_of_an_anonymous_thread_stays_hidden_by_default(world: World, signed_in: SignIn, sam: Member) -> None:
    thread = factories.make_thread(sam, anonymity="classmates")
    page = signed_in(world.user("sam")).get(thread_pages(thread)[2])
    assert page.context["reply_form"]["anonymity"].value() == "classmates"
    other = signed_in(world.user("noor")).get(thread_pages(thread)[2])
    assert other.context["reply_form"]["anonymity"].value() == "named"
