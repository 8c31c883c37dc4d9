"""Telling people: who hears of what, and when mail about it is due.

What happens enqueues one job in its own transaction. The job writes a row for each person; run again, it writes none.
"""

import uuid
import zoneinfo
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import Course, Enrollment, EnrollmentStatus, User
from accounts.querysets import STAFF_ROLES
from forum import access
from forum.models import (
    DESPITE_MUTE,
    STAFF_KINDS,
    Delivery,
    Follow,
    FollowState,
    Mention,
    Notification,
    NotificationKind,
    Post,
    Preference,
    Thread,
)
from quokkaq.lib.jobs import enqueue

TELL_TASK = "forum.tell"
# Staff do these openly. Of everything else, who did it may be somebody who hides.
_NAMED = (NotificationKind.ENDORSEMENT, NotificationKind.ASSIGNED, NotificationKind.DECISION)
# What may happen to the same text again, and is told again.
_REPEATED = (*STAFF_KINDS, NotificationKind.DECISION, NotificationKind.AI_ANSWER, NotificationKind.AI_WITHDRAWN)
_DIGEST_HOUR = time(7)
# People told in one transaction.
BATCH = 1000


class Recipient(NamedTuple):
    """Somebody to tell: of ten thousand people no more is read than this."""

    pk: uuid.UUID
    time_zone: str


# Whether it stands in the inbox, and when it is mailed.
Choice = tuple[bool, Delivery]
DEFAULTS: Mapping[NotificationKind, Choice] = {
    kind: (
        True,
        Delivery.DAILY if kind in (NotificationKind.FLAGGED, NotificationKind.PENDING) else Delivery.INSTANT,
    )
    for kind in NotificationKind
}


def enqueue_telling(
    kind: NotificationKind,
    *,
    thread: Thread,
    post: Post | None = None,
    actor: User | None = None,
    to: User | None = None,
) -> None:
    """Have people told, if the transaction that this is called in commits.

    Args:
        kind: what happened; who is told follows from it (`_people`).
        thread: where it happened.
        post: what it is about; None when it is the thread's own text.
        actor: the member of staff who did it openly; they aren't told. Never somebody who may hide.
        to: the member of staff to tell, for `ASSIGNED` and, besides the asker, `AI_WITHDRAWN`.
    """
    # Ids only, and never of somebody who may hide: operators see what tasks are called with.
    enqueue(
        TELL_TASK,
        of=thread.institution_id,
        queue="telling",
        kind=str(kind),
        thread_id=str(thread.pk),
        post_id=str(post.pk) if post else None,
        actor_id=str(actor.pk) if actor else None,
        to_id=str(to.pk) if to else None,
        at=timezone.now().isoformat(),
    )


def tell(
    kind: NotificationKind,
    *,
    thread_id: uuid.UUID,
    post_id: uuid.UUID | None = None,
    actor_id: uuid.UUID | None = None,
    to_id: uuid.UUID | None = None,
    at: datetime,
) -> int:
    """Write what happened at `at` into the inbox of everybody concerned; return how many rows are new or new again."""
    thread = Thread.objects.select_related("course", "author").filter(pk=thread_id).first()
    post = Post.objects.filter(pk=post_id, thread=thread_id).first() if post_id else None
    if thread is None or (post_id and post is None):  # erased in the meantime
        return 0
    # Nobody is told of what they did: who wrote it, and who accepted it (the asker, unless staff are named).
    writing = (NotificationKind.REPLY, NotificationKind.MENTION, NotificationKind.ANNOUNCEMENT)
    doers = {actor_id}
    if kind in writing:
        doers.add(post.author_id if post else thread.author_id)
    elif kind == NotificationKind.ACCEPTED and actor_id is None:
        doers.add(thread.author_id)
    found = _people(kind, thread, post, to_id).order_by("user_id").values_list("user_id", "user__time_zone")
    people = [Recipient(*row) for row in found if row[0] not in doers]
    # Some at a time, so that no transaction is long. Cut off anywhere, another run tells the rest.
    return sum(
        _tell_some(kind, thread, post, people[start : start + BATCH], actor_id=actor_id, at=at)
        for start in range(0, len(people), BATCH)
    )


@transaction.atomic
def _tell_some(
    kind: NotificationKind,
    thread: Thread,
    post: Post | None,
    people: Sequence[Recipient],
    *,
    actor_id: uuid.UUID | None,
    at: datetime,
) -> int:
    """Write what happened into the inboxes of some people, as they wish it; return how many rows are new or new again."""
    told = Notification.objects.filter(kind=kind, thread=thread, post=post, user__in=[person.pk for person in people])
    before = {row.user_id: row for row in told.select_for_update(of=("self",))} if kind in _REPEATED else {}
    known = before or set(told.values_list("user_id", flat=True))
    choices = _choices([person.pk for person in people], kind, thread.course_id)
    now = timezone.now()
    actor = actor_id if kind in _NAMED else None
    new, again = [], []
    for person in people:
        in_app, mail = choices[person.pk]
        due = due_at(mail, person, now)
        if not in_app and due is None:
            continue
        if person.pk not in known:
            row = Notification(
                institution_id=thread.institution_id, user_id=person.pk, course_id=thread.course_id, thread=thread,
                post=post, kind=kind, actor_id=actor, created_at=at, in_app=in_app, mail_due_at=due,
            )  # fmt: skip
            new.append(row)
        elif person.pk in before and before[person.pk].created_at < at:
            old = before[person.pk]
            old.created_at, old.actor_id, old.mail_due_at = at, actor, due
            old.read_at = old.mailed_at = None
            again.append(old)
    Notification.objects.bulk_update(again, ["created_at", "actor", "mail_due_at", "read_at", "mailed_at"])
    # Conflicts: the same job, run by another worker, was faster.
    Notification.objects.bulk_create(new, ignore_conflicts=True)
    return len(new) + len(again)


def _people(kind: NotificationKind, thread: Thread, post: Post | None, to_id: uuid.UUID | None) -> QuerySet[Enrollment]:
    """Return who is to be told: only people who may read what it is about, and haven't muted it."""
    people = access.readers_of(thread, post)
    follow = Follow.objects.filter(user=OuterRef("user"), thread=thread)
    called = Mention.objects.filter(user=OuterRef("user"), thread=thread, post=post)
    if kind not in DESPITE_MUTE:
        people = people.exclude(Exists(follow.filter(state=FollowState.MUTED)))
    match kind:
        case NotificationKind.REPLY:
            # Who is called by name in it hears that instead.
            return people.filter(Exists(follow), ~Exists(called))
        case NotificationKind.ANNOUNCEMENT:
            return people.filter(~Exists(called), status=EnrollmentStatus.ACTIVE)
        case NotificationKind.MENTION:
            return people.filter(Exists(called))
        case NotificationKind.AI_ANSWER:
            return people.filter(Q(user=thread.author_id) | Exists(follow))
        case NotificationKind.AI_WITHDRAWN:
            return people.filter(user=to_id or thread.author_id)
        case NotificationKind.ENDORSEMENT | NotificationKind.ACCEPTED | NotificationKind.DECISION:
            return people.filter(user=post.author_id if post else thread.author_id)
        case NotificationKind.FLAGGED | NotificationKind.PENDING:
            return people.filter(status=EnrollmentStatus.ACTIVE, role__in=STAFF_ROLES)
    # Somebody asked one of the staff.
    return people.filter(user=to_id, status=EnrollmentStatus.ACTIVE, role__in=STAFF_ROLES)


# When mail is due


def due_at(delivery: str, user: User | Recipient, now: datetime) -> datetime | None:
    """Return when mail about something that happened now is due; None for no mail.

    At once means after a pause, in which more may come to put into the same mail. A digest is due at the next 7:00
    (weekly: on the next Monday) where its reader lives, whatever their clocks do in between.
    """
    if delivery == Delivery.OFF or not settings.MAIL_IS_ON:
        return None
    if delivery == Delivery.INSTANT:
        return now + timedelta(seconds=settings.MAIL_BURST_SECONDS)
    zone = zoneinfo.ZoneInfo(user.time_zone)
    local = now.astimezone(zone)
    day = local.date() + timedelta(days=local.time() >= _DIGEST_HOUR)
    if delivery == Delivery.WEEKLY:
        day += timedelta(days=-day.weekday() % 7)
    # Made from date and clock time, not by adding hours: a day may have 23 or 25.
    return datetime.combine(day, _DIGEST_HOUR, tzinfo=zone)


# What people wish


def _choices(people: Sequence[uuid.UUID], kind: NotificationKind, course_id: uuid.UUID) -> dict[uuid.UUID, Choice]:
    """Return how each person wants to be told: as they said for the course, else in general, else the default. One query."""
    said = Preference.objects.filter(user__in=people, kind=kind).filter(Q(course=course_id) | Q(course=None))
    found: dict[uuid.UUID, Choice] = dict.fromkeys(people, DEFAULTS[kind])
    for row in sorted(said, key=lambda row: row.course_id is not None):  # the course's own come last, and count
        found[row.user_id] = (row.in_app, Delivery(row.mail))
    return found


def preferences_of(user: User, course: Course | None) -> dict[NotificationKind, Choice | None]:
    """Return what the person said for a course (None: nothing), or what counts everywhere else."""
    said = {
        NotificationKind(row.kind): (row.in_app, Delivery(row.mail))
        for row in Preference.objects.visible_to(user).filter(course=course)
    }
    return {kind: said.get(kind, None if course else DEFAULTS[kind]) for kind in NotificationKind}


@transaction.atomic
def set_preferences(*, by: User, course: Course | None, choices: Mapping[NotificationKind, Choice | None]) -> None:
    """Save how the person wants to be told: in one course (None: as everywhere), or everywhere else.

    It counts at once, also for what waits to be mailed.
    """
    mine = Preference.objects.visible_to(by).filter(course=course)
    mine.filter(kind__in=[kind for kind, choice in choices.items() if choice is None]).delete()
    Preference.objects.bulk_create(
        [
            Preference(
                institution_id=by.institution_id, user=by, course=course, kind=kind, in_app=choice[0], mail=choice[1]
            )
            for kind, choice in choices.items()
            if choice is not None
        ],
        update_conflicts=True,
        unique_fields=["user", "course", "kind"],
        update_fields=["in_app", "mail"],
    )
    _reschedule(by)


@transaction.atomic
def stop_all_mail(*, by: User) -> None:
    """Switch off mail of every kind, in every course; the inbox stays as it is."""
    Preference.objects.visible_to(by).update(mail=Delivery.OFF)
    said = set(Preference.objects.visible_to(by).filter(course=None).values_list("kind", flat=True))
    Preference.objects.bulk_create(
        [
            Preference(institution_id=by.institution_id, user=by, kind=kind, in_app=in_app, mail=Delivery.OFF)
            for kind, (in_app, _) in DEFAULTS.items()
            if kind not in said
        ],
        ignore_conflicts=True,
    )
    _reschedule(by)


def _reschedule(user: User) -> None:
    """Bring what waits to be mailed in line with what its reader wishes now."""
    waiting = list(
        Notification.objects.filter(user=user, mailed_at=None, mail_due_at__isnull=False).select_for_update(
            of=("self",)
        )
    )
    now = timezone.now()
    wishes: dict[tuple[Any, uuid.UUID], datetime | None] = {}
    for row in waiting:
        key = (row.kind, row.course_id)
        if key not in wishes:
            kind = NotificationKind(row.kind)
            wishes[key] = due_at(_choices([user.pk], kind, row.course_id)[user.pk][1], user, now)
        row.mail_due_at = wishes[key]
    Notification.objects.bulk_update(waiting, ["mail_due_at"], batch_size=1000)


# Reading


def mark_told_read(*, by: User, thread: Thread) -> None:
    """Note that the person has seen what the inbox says about a thread. One statement."""
    Notification.objects.filter(user=by, thread=thread).unread().update(read_at=timezone.now())


def mark_all_told_read(*, by: User, course: Course | None = None) -> int:
    """Note that the person has seen everything, in one course or in all; return how much that was."""
    rows = Notification.objects.filter(user=by).unread()
    if course is not None:
        rows = rows.filter(course=course)
    return rows.update(read_at=timezone.now())
