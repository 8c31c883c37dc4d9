"""Keeping order in Django admin: queues and bulk decisions by the same rules, nobody's flag named, a log nobody changes."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent
from forum import actions
from forum.admin.base import BULK_REASON
from forum.models import Anonymity, Flag, FlagReason, FlagStatus, Merge, Moderation, Post, Thread
from tests import factories
from tests.forum.test_admin import World, browser, bulk, list_url, row_url, shown, unchanged

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return World()


def flagged(world: World, title: str = "A question", **fields: Any) -> Flag:
    student = world.member(f"student-{Flag.objects.count()}", world.a, world.sam.role)
    return actions.flag_text(by=world.sam, text=world.thread(student, title, **fields), reason=FlagReason.SPAM)


def test_texts_are_hidden_shown_again_and_approved_in_bulk(world: World) -> None:
    client = browser(world.ada)
    threads = [world.thread(world.sam, f"Question {number}") for number in range(3)]
    posts = [world.reply(world.sam, thread) for thread in threads]
    for rows, noun in ((threads, "threads"), (posts, "posts")):
        model = type(rows[0])
        assert bulk(client, "hide", *rows) == f"3 {noun} hidden."
        found = model._default_manager.values_list("moderation", "moderation_reason", "moderated_by")
        assert set(found) == {(Moderation.HIDDEN, BULK_REASON, world.ada.user.pk)}
        assert client.get(f"{list_url(model)}?moderation__exact=hidden").context["cl"].queryset.count() == 3
        assert bulk(client, "unhide", *rows) == f"3 {noun} shown again."
        model._default_manager.update(moderation=Moderation.PENDING)
        assert bulk(client, "approve", *rows) == f"3 {noun} approved."
        assert not model._default_manager.exclude(moderation=Moderation.SHOWN).exists()
    assert AuditEvent.objects.filter(actor=world.ada.user, course=world.a).count() == 18


def test_one_refused_text_undoes_the_others_and_says_why(world: World) -> None:
    client = browser(world.ada)
    one, other = world.thread(world.sam, "The first"), world.thread(world.sam, "The other")
    actions.hide_text(by=world.ada, text=other, reason="Rude")
    said = unchanged(lambda: bulk(client, "hide", one, other))
    assert said == "Nothing was changed. #2 The other can't be hidden: A colleague has hidden this already."
    assert "doesn't wait for approval" in unchanged(lambda: bulk(client, "approve", one))
    assert "isn't hidden any more" in unchanged(lambda: bulk(client, "unhide", one))
    actions.delete_thread(by=world.ada, thread=one)
    assert "it is deleted" in unchanged(lambda: bulk(client, "hide", one))


def test_flags_are_dismissed_or_upheld_in_bulk(world: World) -> None:
    client = browser(world.ada)
    flags = [flagged(world, f"Question {number}") for number in range(2)]
    second = actions.flag_text(
        by=world.member("omaha", world.a, world.sam.role), text=flags[0].thread, reason=FlagReason.RUDE
    )
    assert bulk(client, "dismiss", flags[0], second) == "2 flags dismissed."
    assert set(Flag.objects.filter(thread=flags[0].thread).values_list("status", flat=True)) == {FlagStatus.DISMISSED}
    said = unchanged(lambda: bulk(client, "uphold_and_hide", flags[0], flags[1]))
    assert "Nothing was changed. The flag on #1 Question 0 can't be upheld: A colleague has decided" in said
    assert Flag.objects.get(pk=flags[1].pk).status == FlagStatus.OPEN
    post = world.reply(world.ada, flags[1].thread)
    on_post = actions.flag_text(by=world.sam, text=post, reason=FlagReason.WRONG)
    assert bulk(client, "uphold_and_hide", flags[1], on_post) == "2 flags upheld."
    assert Thread.objects.get(pk=flags[1].thread_id).moderation == Moderation.HIDDEN
    assert Post.objects.get().moderation == Moderation.HIDDEN


def test_a_teaching_assistant_decides_about_nothing_of_their_own(world: World) -> None:
    ivan_thread = world.thread(world.ivan, "By the assistant")
    student = world.member("student", world.c, world.sam.role)
    flag = actions.flag_text(by=student, text=ivan_thread, reason=FlagReason.WRONG)
    said = unchanged(lambda: bulk(browser(world.ivan), "dismiss", flag))
    assert "it is about your own text: a colleague decides" in said
    assert bulk(factories.browser(world.root, into=world.there), "dismiss", flag) == "1 flag dismissed."


def test_flags_of_other_courses_and_archived_ones_stay(world: World) -> None:
    flag = flagged(world)
    unchanged(lambda: bulk(browser(world.omar), "dismiss", flag))
    unchanged(lambda: bulk(browser(world.ivan), "dismiss", flag))
    type(world.a).objects.filter(pk=world.a.pk).update(status="archived")
    assert "archived" in unchanged(lambda: bulk(browser(world.ada), "dismiss", flag))
    assert Flag.objects.get().status == FlagStatus.OPEN


def test_ones_own_hidden_text_isnt_given_away_among_others(world: World) -> None:
    as_student = type(world.ada)(world.ada.user, world.a, world.sam.role)
    own = world.thread(as_student, "Hidden one", anonymity=Anonymity.ALL)
    flag, other = actions.flag_text(by=world.sam, text=own, reason=FlagReason.SPAM), flagged(world)
    said = unchanged(lambda: bulk(browser(world.ada), "dismiss", flag, other))
    assert "your own, under a pseudonym" in said
    assert bulk(browser(world.ada), "uphold_and_hide", flag) == "1 flag upheld."
    own.refresh_from_db()
    flag.refresh_from_db()
    assert (own.moderated_by, flag.decided_by) == (None, None)
    assert set(AuditEvent.objects.filter(target_id=own.pk).values_list("actor", flat=True)) == {None}


@pytest.mark.parametrize("who", ["ada", "root"])
def test_who_flagged_stands_nowhere(world: World, who: str) -> None:
    flag = flagged(world)
    client = browser(getattr(world, who))
    pages = [list_url(Flag), row_url(flag), row_url(flag, "history"), list_url(AuditEvent)]
    pages += [row_url(event) for event in AuditEvent.objects.all()]
    for url in pages:
        page = shown(client, url)
        for secret in ("Sam Person", "sam@mail.example", str(world.sam.user.pk)):
            assert secret not in page, url
    for lookup in (f"user={world.sam.user.pk}", f"user__id__exact={world.sam.user.pk}", "user__email__startswith=s"):
        assert client.get(f"{list_url(Flag)}?{lookup}").status_code == 400
    assert not client.get(f"{list_url(Flag)}?q=Sam").context["cl"].queryset.exists()


@pytest.mark.parametrize("who", ["ada", "root"])
def test_the_audit_log_is_read_only_for_everybody(world: World, who: str) -> None:
    flag = flagged(world)
    actions.decide_flags(by=world.ada, text=flag.thread, decision=actions.Decision.DISMISS)
    client = browser(getattr(world, who))
    before = list(AuditEvent.objects.order_by("pk").values())
    event = AuditEvent.objects.filter(course=world.a).earliest("pk")
    assert client.get(f"{list_url(AuditEvent)}add/").status_code == 403
    assert client.post(f"{list_url(AuditEvent)}add/", {"verb": "made.up"}).status_code == 403
    assert client.post(row_url(event), {"verb": "made.up", "actor": ""}).status_code == 403
    assert client.post(row_url(event, "delete"), {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": str(event.pk), "post": "yes"}
    client.post(list_url(AuditEvent), data)
    assert 'name="action"' not in shown(client, list_url(AuditEvent))
    assert list(AuditEvent.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("model", [Flag, Merge, AuditEvent])
def test_queues_cost_the_same_at_any_length(world: World, model: Any) -> None:
    client = browser(world.ada)

    def fill() -> None:
        first, second = flagged(world).thread, flagged(world).thread
        actions.flag_text(by=world.sam, text=world.reply(world.ada, second), reason=FlagReason.WRONG)
        actions.merge_threads(by=world.ada, source=first, target=second)

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown(client, list_url(model))
        return len(captured)

    fill()
    cost()
    at_one = cost()
    for _ in range(8):
        fill()
    assert cost() == at_one
