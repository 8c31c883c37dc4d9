"""Every action of the forum, tried in every state of thread, course and person that may forbid it.

An action that is added states here who does it and what forbids it, or `test_every_action_is_tried` fails.
"""

import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils import timezone

from accounts.access import Member, get_member
from accounts.models import Course, Enrollment, Role
from forum import actions
from forum.access import Refused
from forum.actions import Decision
from forum.models import (
    Assignment,
    Flag,
    FlagReason,
    Kind,
    Merge,
    Post,
    ResponseTemplate,
    StaffNote,
    Thread,
    Visibility,
)
from tests import factories
from tests.factories import World

pytestmark = pytest.mark.django_db


@dataclass
class Stage:
    """A question by sam with a reply by noor, and the people around them."""

    world: World
    thread: Thread
    post: Post
    more: dict[str, Any] = field(default_factory=dict)


# What forbids anything that changes something.
READ_ONLY = frozenset({"archived", "completed"})
# What forbids writing, too.
NO_WRITING = READ_ONLY | {"closed", "banned"}
STATES = (
    "as it should be", "archived", "completed", "closed", "banned", "locked", "deleted", "hidden", "by a student",
)  # fmt: skip
ADA, TIM, SAM, NOOR = "ada", "tim", "sam", "noor"


@dataclass(frozen=True)
class Act:
    """Something `who` does; `forbidden` names the states in which it is refused."""

    who: str
    do: Callable[[Stage, Member], Any]
    forbidden: frozenset[str] = READ_ONLY | {"deleted"}

    @property
    def is_for_staff(self) -> bool:
        return self.who in (ADA, TIM)


def staff_act(do: Callable[[Stage, Member], Any], *forbidden: str) -> Act:
    """Return an act of staff, whom neither an exam nor a ban stops."""
    return Act(TIM, do, READ_ONLY | {"deleted", "by a student", *forbidden})


def course_act(do: Callable[[Stage, Member], Any]) -> Act:
    """Return an act of staff that is about no thread."""
    return Act(TIM, do, READ_ONLY | {"by a student"})


def another(stage: Stage) -> Thread:
    return made_before("Asked elsewhere, too", stage)


def made_before(title: str, stage: Stage) -> Thread:
    """Return a thread that was there before the state came about."""
    thread: Thread = stage.more[title]
    return thread


def flagged(stage: Stage) -> Post:
    Flag.objects.create(
        institution_id=stage.thread.institution_id, user=stage.world.user(SAM), thread=stage.thread, post=stage.post,
        reason=FlagReason.RUDE,
    )  # fmt: skip
    return stage.post


def moderated(stage: Stage, moderation: str) -> Post:
    Post.objects.filter(pk=stage.post.pk).update(moderation=moderation, moderation_reason="Rude")
    stage.post.refresh_from_db()
    return stage.post


def merged(stage: Stage) -> Merge:
    merge: Merge = stage.more["merge"]
    return merge


def elsewhere(stage: Stage, by: Member) -> Member:
    """Return the mover as staff of another course, in which the thread's author studies."""
    for name, role in (
        (by.user, Role.TA),
        (stage.world.user(SAM), Role.STUDENT),
        (stage.world.user(NOOR), Role.STUDENT),
    ):
        Enrollment.objects.get_or_create(
            user=name, course=stage.world.other_course,
            defaults={"institution": stage.world.institution, "role": role},
        )  # fmt: skip
    return get_member(by.user, stage.world.other_course.slug)


def template(stage: Stage) -> ResponseTemplate:
    course = stage.world.course
    return ResponseTemplate.objects.create(institution_id=course.institution_id, course=course, title="T", body="B")


def assignment(stage: Stage) -> Assignment:
    course = stage.world.course
    return Assignment.objects.create(institution_id=course.institution_id, course=course, slug="hw", title="HW")


def draft(**fields: Any) -> actions.ThreadDraft:
    return actions.ThreadDraft(title="Another question", body="Text", **fields)


def own_note(stage: Stage, by: Member) -> StaffNote:
    return StaffNote.objects.create(
        institution_id=stage.thread.institution_id, thread=stage.thread, author=by.user, body="x", body_html="x",
        submission_key=uuid.uuid4(),
    )  # fmt: skip


def deleted_post(stage: Stage) -> Post:
    Post.objects.filter(pk=stage.post.pk).update(deleted_at=timezone.now(), deleted_by=stage.post.author)
    stage.post.refresh_from_db()
    return stage.post


ACTS: dict[str, Act] = {
    "start_thread": Act(
        SAM, lambda s, by: actions.start_thread(by=by, draft=draft(), form_key=uuid.uuid4()), NO_WRITING
    ),
    "add_reply": Act(
        SAM,
        lambda s, by: actions.add_reply(by=by, thread=s.thread, body="x", form_key=uuid.uuid4()),
        NO_WRITING | {"deleted", "locked"},
    ),
    "edit_thread": Act(
        SAM,
        lambda s, by: actions.edit_thread(by=by, thread=s.thread, title="New title", body="New", tags=[]),
        NO_WRITING | {"deleted", "hidden"},
    ),
    "edit_post": Act(NOOR, lambda s, by: actions.edit_post(by=by, post=s.post, body="New"), NO_WRITING | {"deleted"}),
    # Whoever wrote it may take it back, whatever they may not write any more.
    "delete_thread": Act(SAM, lambda s, by: actions.delete_thread(by=by, thread=s.thread)),
    "delete_post": Act(NOOR, lambda s, by: actions.delete_post(by=by, post=s.post)),
    "restore_post": Act(NOOR, lambda s, by: actions.restore_post(by=by, post=deleted_post(s))),
    "set_vote": Act(
        NOOR, lambda s, by: actions.set_vote(by=by, target=s.thread, on=True), READ_ONLY | {"deleted", "hidden"}
    ),
    "set_same_question": Act(
        NOOR,
        lambda s, by: actions.set_same_question(by=by, thread=s.thread, on=True),
        READ_ONLY | {"deleted", "hidden"},
    ),
    "set_resolved": Act(SAM, lambda s, by: actions.set_resolved(by=by, thread=s.thread, resolved=True)),
    "accept_answer": Act(SAM, lambda s, by: actions.accept_answer(by=by, post=s.post, accepted=True)),
    "set_endorsement": staff_act(lambda s, by: actions.set_endorsement(by=by, post=s.post, on=True)),
    "set_pinned": staff_act(lambda s, by: actions.set_pinned(by=by, thread=s.thread, pinned=True)),
    "set_locked": staff_act(lambda s, by: actions.set_locked(by=by, thread=s.thread, locked=True)),
    "add_staff_note": staff_act(
        lambda s, by: actions.add_staff_note(by=by, thread=s.thread, body="x", form_key=uuid.uuid4())
    ),
    "delete_staff_note": Act(
        TIM, lambda s, by: actions.delete_staff_note(by=by, note=own_note(s, by)), READ_ONLY | {"by a student"}
    ),
    "flag_text": Act(
        NOOR,
        lambda s, by: actions.flag_text(by=by, text=s.thread, reason=FlagReason.RUDE),
    ),
    # A flag is closed wherever the text stands by then.
    "decide_flags": course_act(lambda s, by: actions.decide_flags(by=by, text=flagged(s), decision=Decision.DISMISS)),
    "hide_text": staff_act(lambda s, by: actions.hide_text(by=by, text=s.post, reason="Rude")),
    "unhide_text": staff_act(lambda s, by: actions.unhide_text(by=by, text=moderated(s, "hidden"))),
    "approve_text": staff_act(lambda s, by: actions.approve_text(by=by, text=moderated(s, "pending"))),
    "approve_all": staff_act(lambda s, by: actions.approve_all(by=by, texts=[moderated(s, "pending")])),
    "set_duplicate": staff_act(lambda s, by: actions.set_duplicate(by=by, thread=s.thread, of=another(s))),
    "merge_threads": staff_act(
        lambda s, by: actions.merge_threads(by=by, source=s.thread, target=another(s)), "hidden"
    ),
    "undo_merge": Act(TIM, lambda s, by: actions.undo_merge(by=by, merge=merged(s)), READ_ONLY | {"by a student"}),
    "move_thread": staff_act(lambda s, by: actions.move_thread(by=by, thread=s.thread, to=elsewhere(s, by))),
    "refile_thread": staff_act(
        lambda s, by: actions.refile_thread(by=by, thread=s.thread, kind=Kind.DISCUSSION, visibility=Visibility.COURSE)
    ),
    "assign_thread": staff_act(lambda s, by: actions.assign_thread(by=by, thread=s.thread, to=s.world.user(ADA))),
    "do_to_threads": staff_act(
        lambda s, by: actions.do_to_threads(by=by, numbers=[s.thread.number], act=actions.BULK_ACTS["pin"])
    ),
    "save_template": course_act(
        lambda s, by: actions.save_template(by=by, template=None, title="Hello", category="", body="Hello")
    ),
    "delete_template": course_act(lambda s, by: actions.delete_template(by=by, template=template(s))),
    "add_tag": course_act(lambda s, by: actions.add_tag(by=by, name="Loops")),
    "rename_tag": course_act(lambda s, by: actions.rename_tag(by=by, tag=factories.make_tag(by.course), name="Other")),
    "delete_tag": course_act(lambda s, by: actions.delete_tag(by=by, tag=factories.make_tag(by.course))),
    "save_assignment": course_act(
        lambda s, by: actions.save_assignment(by=by, assignment=None, title="HW 1", due_at=None, embargo_until=None)
    ),
    "delete_assignment": course_act(lambda s, by: actions.delete_assignment(by=by, assignment=assignment(s))),
    "record_deflection": Act(NOOR, lambda s, by: actions.record_deflection(by=by, thread=s.thread), READ_ONLY),
}
# They keep what is one's own or note what one saw: allowed to whoever may read, tried where their pages are.
FOR_ONESELF = {
    "discard_draft", "save_draft", "save_view", "delete_view", "mark_read", "mark_all_told_read", "mark_told_read",
    "set_preferences", "stop_all_mail", "find_sent", "set_follow",
}  # fmt: skip
# Tried below or in test_moving.py: they need a thread that is deleted, or private.
ELSEWHERE = {"restore_thread", "open_thread"}


def test_every_action_is_tried() -> None:
    acting = {
        name
        for name in actions.__all__
        if inspect.isfunction(getattr(actions, name)) and "by" in inspect.signature(getattr(actions, name)).parameters
    }
    assert acting == {*ACTS, *FOR_ONESELF, *ELSEWHERE}


@pytest.fixture
def stage(world: World) -> Stage:
    thread = factories.make_thread(world.member(SAM))
    post = factories.make_post(world.member(NOOR), thread)
    title = "Asked elsewhere, too"
    source, target = (factories.make_thread(world.member(SAM), f"To be merged {n}") for n in (1, 2))
    merge = actions.merge_threads(by=world.member(TIM), source=source, target=target)
    return Stage(world, thread, post, {title: factories.make_thread(world.member(NOOR), title), "merge": merge})


def bring_about(state: str, stage: Stage, act: Act) -> None:
    course, soon = stage.world.course, timezone.now() + timedelta(hours=1)
    mine = Enrollment.objects.filter(course=course, user=stage.world.user(act.who))
    match state:
        case "archived":
            factories.archive(course)
        case "completed":
            mine.update(status="completed")
        case "closed":
            Course.objects.filter(pk=course.pk).update(posting_closed_until=soon)
        case "banned":
            mine.update(is_banned=True, banned_until=soon, ban_reason="Insults")
        case "locked":
            Thread.objects.filter(pk=stage.thread.pk).update(is_locked=True)
        case "deleted":
            Thread.objects.filter(pk=stage.thread.pk).update(deleted_at=timezone.now())
        case "hidden":
            Thread.objects.filter(pk=stage.thread.pk).update(moderation="hidden")
    stage.thread.refresh_from_db()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", ACTS)
def test_an_action_is_refused_where_it_must_be_and_nowhere_else(name: str, state: str, stage: Stage) -> None:
    act = ACTS[name]
    if state == "by a student" and not act.is_for_staff:
        return
    bring_about(state, stage, act)
    who = NOOR if state == "by a student" else act.who
    by = get_member(stage.world.user(who), stage.world.course.slug)
    if state in act.forbidden:
        with pytest.raises((PermissionDenied, Refused, Http404)):
            act.do(stage, by)
    else:
        act.do(stage, by)


@pytest.mark.parametrize("who", [SAM, NOOR])
def test_only_who_deleted_a_thread_or_staff_bring_it_back(stage: Stage, who: str) -> None:
    actions.delete_thread(by=stage.world.member(SAM), thread=stage.thread)
    if who == NOOR:
        with pytest.raises(PermissionDenied):
            actions.restore_thread(by=stage.world.member(who), thread=stage.thread)
    else:
        actions.restore_thread(by=stage.world.member(who), thread=stage.thread)
