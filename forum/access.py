"""The doors to threads and posts, and the rules on who may change what.

`get_*` return what the member may see, or raise 404. `may_*` say whether an act is allowed; actions ask them again
through `require`, so a page that shows a button and an action that takes the click can't disagree.
"""

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import Http404

import accounts.access
from accounts.access import Member, get_member, member_of, stand_in, values_of
from accounts.models import AnonymityPolicy, Course, Enrollment, EnrollmentStatus, Role, User
from accounts.querysets import READING, STAFF_ROLES
from forum.models import (
    Anonymity,
    Assignment,
    Flag,
    FlagStatus,
    Kind,
    Mail,
    Merge,
    Moderation,
    Notification,
    Post,
    ResponseTemplate,
    StaffNote,
    Tag,
    Thread,
    ThreadAlias,
    ThreadTag,
    Visibility,
    Writing,
)
from quokkaq.lib.database.prepared import Asked, Prepared

Refused = accounts.access.Refused


def require(allowed: bool) -> None:
    """Raise 403 unless `allowed`."""
    if not allowed:
        raise PermissionDenied


def get_thread(member: Member, number: int) -> Thread:
    """Return a thread with its author, pseudonym, tags, and the member's vote and read mark. One query.

    A deleted thread is 404, except to those who could restore it.
    """
    thread = _THREAD(member.is_staff, **values_of(member), number=number).first()
    if thread is None or (thread.deleted_at and not may_restore(member, thread)):
        raise Http404
    thread.course = member.course
    return thread


def _thread(staff: bool, *, number: int, **of: uuid.UUID) -> QuerySet[Thread]:
    member = stand_in(staff=staff, **of)
    threads = Thread.objects.in_reach_of(member).with_reader(member).with_merges().with_told(member).listed()
    return threads.filter(number=number)


_THREAD = Prepared[Thread](_thread)


def get_live_thread(member: Member, number: int) -> Thread:
    """Return a thread that isn't deleted or merged into another, or raise 404."""
    thread = get_thread(member, number)
    if thread.deleted_at or thread.merged_into_id:
        raise Http404
    return thread


def get_merge_target(member: Member, thread: Thread) -> Thread:
    """Return the thread that `thread` was merged into, or raise 404."""
    found = Thread.objects.visible_to(member).with_reader(member).with_merges().listed().filter(merged=thread).first()
    if found is None:
        raise Http404
    found.course = member.course
    return found


def get_thread_of_posts(member: Member, number: int) -> Thread:
    """Return the thread that holds the posts of thread `number` now: after a merge, the one it was merged into."""
    thread = get_thread(member, number)
    if thread.deleted_at:
        raise Http404
    return get_merge_target(member, thread) if thread.merged_into_id else thread


def get_moved_thread(member: Member, number: int) -> Thread:
    """Return where a thread of the course went, if the person may read it there, or raise 404."""
    alias = ThreadAlias.objects.visible_to(member).filter(number=number).select_related("thread__course").first()
    if alias is None:
        raise Http404
    return get_thread(get_member(member.user, alias.thread.course.slug), alias.thread.number)


def get_text(member: Member, number: int, post_id: uuid.UUID | None) -> Thread | Post:
    """Return a text that can be read: a post, or the text of a thread (also of one merged into another)."""
    if post_id is None:
        thread = get_thread(member, number)
        if thread.deleted_at:
            raise Http404
        if thread.merged_into_id:
            get_merge_target(member, thread)  # it stands on that page, for whoever may read that
        return thread
    thread = get_thread_of_posts(member, number)
    post = get_post(member, thread, post_id)
    if post.deleted_at:
        raise Http404
    return post


def open_flags(member: Member, thread: Thread) -> dict[uuid.UUID | None, int]:
    """Return how many open flags each text of a thread has, by post (None: the thread's own text)."""
    flags = Flag.objects.visible_to(member).filter(thread=thread, status=FlagStatus.OPEN)
    return dict(flags.order_by().values_list("post").annotate(count=Count("pk")))


def merged_into(member: Member, thread: Thread) -> list[Thread]:
    """Return the threads whose replies stand in `thread` now, each with `merge_id`, as far as the member may read them."""
    if not thread.has_merged:
        return []
    sources = Thread.objects.in_reach_of(member).filter(merged_into=thread, deleted_at=None)
    sources = sources.select_related("author", "pseudonym").order_by("created_at", "pk")
    found = list(sources.with_merge())
    for source in found:
        source.course = member.course
    return found


def get_duplicate(member: Member, thread: Thread) -> Thread | None:
    """Return the thread that asked the same before, if the member may read it; see `Thread.duplicate_of`."""
    if thread.duplicate_of_id is None:
        return None
    found = Thread.objects.visible_to(member).filter(pk=thread.duplicate_of_id).first()
    if found is None:
        into = Thread.objects.filter(pk=thread.duplicate_of_id).values("merged_into")
        found = Thread.objects.visible_to(member).filter(pk__in=into).exclude(pk=thread.pk).first()
    return found


def get_merge(member: Member, merge_id: uuid.UUID) -> Merge:
    """Return a merge in the course; 404 to everybody but staff."""
    merge = Merge.objects.visible_to(member).filter(pk=merge_id).first()
    if merge is None:
        raise Http404
    return merge


def waiting_texts(member: Member, limit: int) -> list[Thread | Post]:
    """Return the texts of the course that wait for approval, oldest first, to its staff. Two queries."""
    require(member.is_staff)
    pending = {"moderation": Moderation.PENDING}
    threads = Thread.objects.visible_to(member).filter(**pending).select_related("author", "pseudonym")
    posts = Post.objects.visible_to(member).filter(**pending).select_related("author", "pseudonym", "thread")
    found: list[Thread | Post] = [
        *threads.order_by("created_at", "pk")[:limit],
        *posts.order_by("created_at", "pk")[:limit],
    ]
    for text in found:
        (text.thread if isinstance(text, Post) else text).course = member.course
    return sorted(found, key=lambda text: (text.created_at, text.pk))[:limit]


def get_waiting(member: Member, keys: Sequence[str]) -> list[Thread | Post]:
    """Return the texts with these ids that staff may read; raise `Refused` when one is gone."""
    require(member.is_staff)
    try:
        ids = {uuid.UUID(key) for key in keys}
    except ValueError as error:
        raise Http404 from error
    found: list[Thread | Post] = [
        *Thread.objects.visible_to(member).filter(pk__in=ids),
        *Post.objects.visible_to(member).filter(pk__in=ids).select_related("thread"),
    ]
    if len(found) < len(ids):
        raise Refused("One of the texts is gone.")
    return found


def get_enrollment(member: Member, person_id: uuid.UUID) -> Enrollment:
    """Return what a person is in the member's course; 404 to everybody but its staff."""
    enrollments = Enrollment.objects.reading().filter(course=member.course, user=person_id)
    enrollment = enrollments.select_related("user").first() if member.is_staff else None
    if enrollment is None:
        raise Http404
    enrollment.course = member.course
    return enrollment


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
    return len(waiting(user).rows())


def waiting(user: User) -> Asked[uuid.UUID]:
    """Ask for what waits in the inbox, at most 100 ids."""
    return _WAITING(person=user.pk, institution=user.institution_id)


def _waiting(person: uuid.UUID, institution: uuid.UUID) -> Any:
    user = User(pk=person, institution_id=institution)
    return Notification.objects.visible_to(user).unread().order_by().values_list("pk", flat=True)[:100]


_WAITING = Prepared[uuid.UUID](_waiting)


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


def staff_of(course: Course) -> QuerySet[User]:
    """Return the people who run the course now: to whom a thread may be given."""
    return User.objects.get_queryset().filter(
        pk__in=Enrollment.objects.staff().filter(course=course).values("user"), is_active=True
    )


def get_template(member: Member, template_id: uuid.UUID) -> ResponseTemplate:
    """Return a response template of the course; 404 to everybody but staff."""
    template = ResponseTemplate.objects.visible_to(member).filter(pk=template_id).first()
    if template is None:
        raise Http404
    return template


def get_assignment(member: Member, assignment_id: uuid.UUID) -> Assignment:
    """Return an assignment of the member's course, or raise 404."""
    assignment = Assignment.objects.visible_to(member).filter(pk=assignment_id).first()
    if assignment is None:
        raise Http404
    return assignment


def counted_tags(member: Member) -> list[Any]:
    """Return the tags (`Tag`) of the course by name, each with how many threads have it (`thread_count`).

    All of them are counted in an index, and the few that are deleted or merged taken away: looking at each thread for whether
    it is still there takes a hundred times as long. Two queries.
    """
    course = member.course
    gone = Thread.objects.filter(
        Q(deleted_at__isnull=False) | Q(merged_into__isnull=False), course=course, institution_id=course.institution_id
    )
    less = dict(ThreadTag.objects.filter(thread__in=gone).values_list("tag").annotate(Count("pk")).order_by())
    tags: list[Any] = list(Tag.objects.visible_to(member).annotate(thread_count=Count("threads")).order_by("name"))
    for tag in tags:
        tag.thread_count -= less.get(tag.pk, 0)
    return tags


def get_tag(member: Member, tag_id: uuid.UUID) -> Tag:
    """Return a tag of the member's course, or raise 404."""
    tag = Tag.objects.visible_to(member).filter(pk=tag_id).first()
    if tag is None:
        raise Http404
    return tag


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


def why_no_reply(member: Member, thread: Thread) -> str:
    """Say in a sentence why the member can't reply to the thread now; empty when they can."""
    if member.posting_closed:
        return member.posting_closed
    if thread.deleted_at:
        return "This thread is deleted."
    if thread.merged_into_id is not None:
        return "This thread was merged into another one: reply there."
    if thread.is_locked and not member.is_staff:
        return "Staff have locked this thread: it takes no more replies."
    return ""


def may_reply(member: Member, thread: Thread) -> bool:
    """Staff may also reply in a locked thread; nobody in one that was merged into another."""
    return not why_no_reply(member, thread) and (member.is_staff or thread.is_shown or thread.is_by(member))


def why_no_edit(member: Member, writing: Writing) -> str:
    """Say in a sentence why the member can't change a text of theirs now; empty when they can."""
    if member.posting_closed:
        return member.posting_closed
    if member.is_staff:
        return ""
    if writing.moderation == Moderation.HIDDEN:
        return "Staff have hidden this: it stays as it was. You may delete it."
    thread = writing.thread if isinstance(writing, Post) else writing
    if member.needs_approval and writing.is_shown and getattr(thread, "visibility", "") == Visibility.COURSE:
        return "Staff approve what is posted in this course, so it can't change afterwards. You may delete it."
    return ""


def may_edit(member: Member, writing: Writing) -> bool:
    """Authors may, while they may post and nobody has approved or hidden the text; staff may change everything."""
    return may_delete(member, writing) and not why_no_edit(member, writing)


def require_edit(member: Member, writing: Writing) -> None:
    """Raise 403 unless the text is the member's to change, and `Refused` with the reason while it can't be changed."""
    require(may_delete(member, writing))
    if reason := why_no_edit(member, writing):
        raise Refused(reason)


def may_delete(member: Member, writing: Writing) -> bool:
    """Authors may take back what they wrote, also while they can't post or when it is hidden; staff everything."""
    return member.may_write and not writing.deleted_at and (member.is_staff or writing.is_by(member))


def may_flag(member: Member, writing: Writing) -> bool:
    """Anybody who reads a text of somebody else may ask staff to look at it."""
    return member.may_write and not writing.deleted_at and not writing.is_by(member)


def may_judge(member: Member, writing: Writing) -> bool:
    """Staff hide, approve and decide on flags; a teaching assistant not about a text of their own."""
    return may_moderate(member) and not (writing.is_by(member) and member.role == Role.TA)


def may_mark_duplicate(member: Member, thread: Thread) -> bool:
    """The asker and staff know that a question was asked before."""
    live = not thread.deleted_at and thread.merged_into_id is None and thread.kind != Kind.ANNOUNCEMENT
    return member.may_write and live and (thread.is_by(member) or member.is_staff)


def may_open(member: Member, thread: Thread) -> bool:
    """Only who asked may open a private thread to the course."""
    private = thread.visibility == Visibility.STAFF and not thread.deleted_at and thread.is_shown
    return private and thread.is_by(member) and member.may_post


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
    """Pin, lock, merge, move, and leave notes for other staff."""
    return member.is_staff and member.may_write
