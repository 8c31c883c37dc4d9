"""Filing a thread elsewhere: in another course, as another kind, for other readers."""

from django.db import transaction

from accounts.access import Member
from accounts.actions import audit
from accounts.models import Course, Enrollment
from forum import access
from forum.actions.threads import editor_shown, lock_thread_row, moderation_of, refresh_status
from forum.models import (
    Anonymity,
    Draft,
    Kind,
    Moderation,
    Notification,
    Post,
    Tag,
    Thread,
    ThreadAlias,
    ThreadTag,
    Visibility,
)
from forum.signals import text_pending, thread_changed, thread_moved, thread_refiled


def why_no_move(thread: Thread) -> str:
    """Say in a sentence why the thread can't go to any other course; empty when it can."""
    if thread.merged_into_id or Thread.objects.filter(merged_into=thread).exists():
        return "Another thread is merged with this one. Undo the merge first."
    hidden = {"anonymity": Anonymity.ALL}
    if thread.anonymity == Anonymity.ALL or Post.objects.filter(thread=thread, **hidden).exists():
        # Whether its author is in the other course, and so may go on reading, would say something about who it is.
        return "Somebody hides their name from everyone in this thread, so it stays where it was written."
    return ""


@transaction.atomic
def move_thread(*, by: Member, thread: Thread, to: Member) -> Thread:
    """Move a thread to another course its mover runs (`to`): it gets a number there, and its old address leads to it.

    Tags are matched by slug; assignment, assignee and the mark of being a duplicate are dropped.
    Raises `Refused` when its author could no longer read it, and for threads in which somebody hides from everyone.
    """
    access.require(access.may_moderate(by) and access.may_moderate(to) and by.user.pk == to.user.pk)
    access.require(by.course.institution_id == to.course.institution_id and by.course.pk != to.course.pk)
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at and thread.course_id == by.course.pk)
    if reason := why_no_move(thread):
        raise access.Refused(reason)
    readers = Enrollment.objects.reading().filter(course=to.course)
    if thread.author_id is not None and not readers.filter(user=thread.author_id).exists():
        raise access.Refused(f"Who wrote this isn't in {to.course.code}, so they could no longer read it.")
    old_number, old_course = thread.number, thread.course
    course = Course.objects.select_for_update(no_key=True).get(pk=to.course.pk)
    course.last_thread_number += 1
    course.save(update_fields=["last_thread_number"])
    slugs = list(thread.tags.values_list("slug", flat=True))
    ThreadTag.objects.filter(thread=thread).delete()
    thread.course, thread.number = course, course.last_thread_number
    thread.assignment = thread.assignee = thread.assigned_at = thread.duplicate_of = None
    thread.is_pinned = False
    thread.save(
        update_fields=[
            "course", "number", "assignment", "assignee", "assigned_at", "duplicate_of", "is_pinned",
        ]
    )  # fmt: skip
    ThreadTag.objects.bulk_create(
        ThreadTag(institution_id=course.institution_id, thread=thread, tag=tag)
        for tag in Tag.objects.visible_to(to).filter(slug__in=slugs)
    )
    ThreadAlias.objects.create(
        institution_id=course.institution_id, course=old_course, number=old_number, thread=thread
    )
    Draft.objects.filter(thread=thread).update(course=course)
    Notification.objects.filter(thread=thread).update(course=course)
    for place in (by.course, to.course):
        audit("thread.moved", thread, by=by.user, course=place, number=old_number, to=thread.number)
    thread_moved.send(sender=Thread, thread=thread, old_course=old_course)
    refresh_status(thread)
    return thread


@transaction.atomic
def refile_thread(*, by: Member, thread: Thread, kind: Kind, visibility: Visibility) -> Thread:
    """Make a question a discussion or the other way round, or take a thread out of sight of the course.

    What somebody wrote for staff only is opened to the course by who wrote it: see `open_thread`.
    """
    access.require(access.may_moderate(by))
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at and thread.merged_into_id is None)
    if (thread.kind == Kind.ANNOUNCEMENT) != (kind == Kind.ANNOUNCEMENT):
        raise access.Refused("An announcement stays one, and nothing else becomes one: it was told to everybody.")
    if visibility != thread.visibility and visibility == Visibility.COURSE:
        raise access.Refused("Only who asked can open a private thread to the course. Ask them to: they have a button.")
    if visibility != thread.visibility and thread.kind == Kind.ANNOUNCEMENT:
        raise access.Refused("An announcement is for everybody. Delete it instead.")
    if visibility != thread.visibility and Thread.objects.filter(merged_into=thread).exists():
        raise access.Refused("Another thread is merged into this one. Undo the merge first.")
    if (kind, visibility) == (thread.kind, thread.visibility):
        return thread
    changed = {"kind": str(kind)} if kind != thread.kind else {}
    changed |= {"visibility": str(visibility)} if visibility != thread.visibility else {}
    thread.kind, thread.visibility = kind, visibility
    thread.save(update_fields=["kind", "visibility"])
    shown = editor_shown(by, thread)
    audit("thread.refiled", thread, by=shown.user if shown else None, course=by.course, **changed)
    thread_refiled.send(sender=Thread, thread=thread)
    refresh_status(thread)
    return thread


@transaction.atomic
def open_thread(*, by: Member, thread: Thread) -> Thread:
    """Let the course read what one asked staff in private, with all replies. Where staff approve, it waits for that."""
    access.require_poster(by)
    thread = lock_thread_row(thread)
    access.require(access.may_open(by, thread))
    thread.visibility = Visibility.COURSE
    thread.moderation = moderation_of(by, thread.visibility)
    thread.save(update_fields=["visibility", "moderation"])
    shown = editor_shown(by, thread)
    audit("thread.opened", thread, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=thread)
    if thread.moderation == Moderation.PENDING:
        text_pending.send(sender=Thread, writing=thread)
    return thread
