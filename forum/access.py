"""The doors to threads and posts, and the rules on who may change what.

`get_*` return what the member may see, or raise 404. `may_*` say whether an act is allowed; actions ask them again
through `require`, so a page that shows a button and an action that takes the click can't disagree.
"""

import uuid
from collections.abc import Collection

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404

from accounts.access import Member, member_of
from accounts.models import AnonymityPolicy, Enrollment, EnrollmentStatus, User
from accounts.querysets import READING, STAFF_ROLES
from forum.models import (
    Anonymity,
    Kind,
    Mail,
    Moderation,
    Notification,
    Post,
    StaffNote,
    Thread,
    Visibility,
    Writing,
)


class Refused(Exception):
    """The act is allowed to this person in general, but not now; the message says why."""


def require(allowed: bool) -> None:
    """Raise 403 unless `allowed`."""
    if not allowed:
        raise PermissionDenied


def get_thread(member: Member, number: int) -> Thread:
    """Return a thread with its author, pseudonym, tags, and the member's vote and read mark. One query.

    A deleted thread is 404, except to those who could restore it.
    """
    thread = (
        Thread.objects.in_reach_of(member).with_reader(member).with_told(member).listed().filter(number=number).first()
    )
    if thread is None or (thread.deleted_at and not may_restore(member, thread)):
        raise Http404
    thread.course = member.course
    return thread


def get_live_thread(member: Member, number: int) -> Thread:
    """Return a thread that isn't deleted, or raise 404."""
    thread = get_thread(member, number)
    if thread.deleted_at:
        raise Http404
    return thread


def get_post(member: Member, thread: Thread, post_id: uuid.UUID) -> Post:
    """Return a post of the thread; a deleted one only to those who could restore it, else 404."""
    post = Post.objects.shown_to(member).filter(thread=thread, pk=post_id).first()
    if post is None or (post.deleted_at and not may_restore(member, post)):
        raise Http404
    post.thread = thread
    return post


def readers_of(thread: Thread, post: Post | None = None) -> QuerySet[Enrollment]:
    """Return the enrollments, with their users, of everybody who may read a thread (and a post of it).

    The rule of `ThreadQuerySet.visible_to` and `PostQuerySet.visible_to`, seen from the text instead of the person.
    """
    if thread.deleted_at or thread.merged_into_id or (post is not None and post.deleted_at):
        return Enrollment.objects.none()
    rows = (
        Enrollment.objects.reading()
        .filter(course=thread.course_id, user__institution=thread.institution_id, user__is_active=True)
        .select_related("user")
    )
    staff = Q(status=EnrollmentStatus.ACTIVE, role__in=STAFF_ROLES)
    if thread.visibility != Visibility.COURSE or not thread.is_shown:
        rows = rows.filter(staff | Q(user=thread.author_id))
    if post is not None and not post.is_shown:
        rows = rows.filter(staff | Q(user=post.author_id))
    return rows


def unread_count(user: User) -> int:
    """Return how much waits in the inbox; 100 stands for more than 99. One query."""
    return Notification.objects.visible_to(user).unread().order_by()[:100].count()


def get_notification(user: User, notification_id: uuid.UUID) -> Notification:
    """Return something the person was told, with its thread, course and post, or raise 404."""
    found = (
        Notification.objects.visible_to(user)
        .select_related("thread__course", "post")
        .filter(pk=notification_id, in_app=True)
        .first()
    )
    if found is None:
        raise Http404
    return found


def get_mail(user: User, mail_id: uuid.UUID) -> Mail:
    """Return a mail to the person, or raise 404."""
    mail = Mail.objects.visible_to(user).filter(pk=mail_id).first()
    if mail is None:
        raise Http404
    return mail


def members_of(user: User, courses: Collection[uuid.UUID] | None = None) -> dict[uuid.UUID, Member]:
    """Return the person as a member of each of their courses, by its id. One query."""
    rows = Enrollment.objects.reading().filter(user=user, course__institution=user.institution_id)
    if courses is not None:
        rows = rows.filter(course__in=courses)
    return {row.course_id: member_of(row, user) for row in rows.select_related("course").order_by("course__code")}


def names_in(member: Member) -> list[str]:
    """Return what the people of the course are called: who may be meant by an `@` in a preview."""
    people = User.objects.filter(enrollments__course=member.course, enrollments__status__in=READING)
    return list(people.values_list("display_name", flat=True))


def get_staff_note(member: Member, thread: Thread, note_id: uuid.UUID) -> StaffNote:
    """Return a note on the thread; 404 to everybody but staff."""
    note = StaffNote.objects.visible_to(member).filter(thread=thread, pk=note_id).first()
    if note is None:
        raise Http404
    return note


def require_poster(member: Member) -> None:
    """Raise 403 in a course that is read-only for the member, and `Refused` with the reason while posting is closed."""
    require(member.may_write)
    if member.posting_closed:
        raise Refused(member.posting_closed)


def may_hide_as(member: Member, anonymity: str) -> bool:
    """Tell whether the course lets the member hide their name so. Staff answer for what they say."""
    if anonymity == Anonymity.NAMED:
        return True
    policy = member.course.anonymity_policy
    return not member.is_staff and (
        policy == AnonymityPolicy.ALL or (policy == AnonymityPolicy.CLASSMATES and anonymity == Anonymity.CLASSMATES)
    )


def may_reply(member: Member, thread: Thread) -> bool:
    """Staff may also reply in a locked thread; nobody in one that was merged into another."""
    open_to_all = not thread.is_locked and thread.is_shown
    return (
        member.may_post
        and not thread.deleted_at
        and thread.merged_into_id is None
        and (member.is_staff or open_to_all or (thread.is_by(member) and not thread.is_locked))
    )


def may_edit(member: Member, writing: Writing) -> bool:
    """Authors may, while they may post; staff may change everything. What staff have hidden stays as it was flagged."""
    if writing.deleted_at or not member.may_post:
        return False
    return member.is_staff or (writing.is_by(member) and writing.moderation != Moderation.HIDDEN)


def may_delete(member: Member, writing: Writing) -> bool:
    return may_edit(member, writing)


def may_flag(member: Member, writing: Writing) -> bool:
    """Anybody who reads a text of somebody else may ask staff to look at it."""
    return member.active and not writing.deleted_at and not writing.is_by(member)


def may_restore(member: Member, writing: Writing) -> bool:
    """Staff may undo any deletion, authors only their own: not one by staff."""
    own = writing.is_by(member) and writing.deleted_by_id == member.user.pk
    return bool(writing.deleted_at) and member.may_write and (own or member.is_staff)


def may_vote(member: Member, writing: Writing) -> bool:
    """One can't vote for oneself."""
    return member.may_write and not writing.deleted_at and writing.is_shown and not writing.is_by(member)


def may_ask_the_same(member: Member, thread: Thread) -> bool:
    """A student may join a question that isn't their own."""
    return thread.kind == Kind.QUESTION and not member.is_staff and may_vote(member, thread)


def may_endorse(member: Member) -> bool:
    return member.is_staff and member.may_write


def may_resolve(member: Member, thread: Thread) -> bool:
    """The asker and staff say when a question is settled, and which answer settled it."""
    if thread.kind == Kind.ANNOUNCEMENT:
        return False
    return member.may_write and not thread.deleted_at and (thread.is_by(member) or member.is_staff)


def may_moderate(member: Member) -> bool:
    """Pin, lock, and leave notes for other staff."""
    return member.is_staff and member.may_write
