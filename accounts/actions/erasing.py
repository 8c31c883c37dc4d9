"""Erasing a person: asked for, waited with for a week, then done for good.

Their row stays, emptied, as “Deleted user”: what they wrote goes on standing under it, in the open or under the same
pseudonyms as before. A hidden author who leaves is thus shown exactly as one who stays.
"""

import logging
import uuid
from datetime import datetime
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models, transaction
from django.utils import timezone

from accounts import privacy
from accounts.access import Refused
from accounts.actions.auditing import audit
from accounts.mailing import mail_person
from accounts.models import (
    DELETED_USER,
    ERASURE_OPEN,
    ERASURE_WAIT,
    Course,
    CourseStatus,
    Enrollment,
    EnrollmentStatus,
    Erasure,
    ErasureState,
    Role,
    Theme,
    User,
)
from quokkaq.lib.jobs import enqueue

log = logging.getLogger(__name__)
ERASE_TASK = "accounts.erase_person"
ERASURE_MAIL_TASK = "accounts.mail_erasure"


def obstacle_to_erasing(person: User) -> str:
    """Say in a sentence why a person can't go yet: somebody has to run their courses, and the site. Empty: they can."""
    runs = Enrollment.objects.filter(
        user=person, role=Role.INSTRUCTOR, status=EnrollmentStatus.ACTIVE, course__status=CourseStatus.ACTIVE
    )
    others = Enrollment.objects.filter(
        course=models.OuterRef("pk"), role=Role.INSTRUCTOR, status=EnrollmentStatus.ACTIVE, user__is_active=True
    ).exclude(user=person)
    alone = list(
        Course.objects.filter(pk__in=runs.values("course"), institution_id=person.institution_id)
        .filter(~models.Exists(others))
        .order_by("code")
        .values_list("code", flat=True)
    )
    if alone:
        names = ", ".join(alone)
        return f"You are the only instructor of {names}. Add another one, or archive the course, first."
    if (
        person.is_superuser
        and not User.objects.filter(is_superuser=True, is_active=True).exclude(pk=person.pk).exists()
    ):
        return "You are the only operator. Make somebody else one first."
    return ""


@transaction.atomic
def request_erasure(*, by: User, person: User) -> Erasure:
    """Have a person erased in a week. Raises `Refused`. Asked twice, it is one request."""
    person = User.objects.select_for_update(no_key=True, of=("self",)).get(
        pk=person.pk, institution_id=person.institution_id
    )
    if person.erased_at is not None:
        raise Refused("This account is erased already.")
    found = Erasure.objects.visible_to(person).open().first()
    if found is not None:
        return found
    obstacle = obstacle_to_erasing(person)
    if obstacle:
        raise Refused(obstacle)
    erasure = Erasure.objects.create(
        institution_id=person.institution_id, user=person, requested_by=by, due_at=timezone.now() + ERASURE_WAIT
    )
    audit("erasure.requested", erasure, by=by, person=str(person.pk))
    enqueue(ERASURE_MAIL_TASK, of=erasure.institution_id, queue="mail", erasure_id=str(erasure.pk))
    return erasure


@transaction.atomic
def cancel_erasure(*, by: User) -> None:
    """Keep one's account. Raises `Refused` once it is under way."""
    erasure = Erasure.objects.visible_to(by).select_for_update(of=("self",)).open().first()
    if erasure is None:
        return
    if erasure.state == ErasureState.RUNNING:
        raise Refused("It has begun, and can’t be stopped any more.")
    erasure.state, erasure.finished_at = ErasureState.CANCELLED, timezone.now()
    erasure.save(update_fields=["state", "finished_at"])
    audit("erasure.cancelled", erasure, by=by)


def mail_erasure(erasure_id: uuid.UUID) -> None:
    """Tell a person when their account goes, and how to keep it."""
    erasure = Erasure.objects.select_related("user").filter(pk=erasure_id, state=ErasureState.SCHEDULED).first()
    if erasure is not None and erasure.user.is_active:
        by_self = erasure.requested_by_id == erasure.user_id
        context = {"erasure": erasure, "by_self": by_self}
        mail_person(erasure.user.email, "Your account will be erased", "erasure_scheduled", context)


def enqueue_due_erasures() -> int:
    """Begin what is due, and take up what was cut off. For one institution: call it in its scope."""
    due = Erasure.objects.open().filter(due_at__lte=timezone.now())
    keys = list(due.values_list("pk", flat=True)[:100])
    for key in keys:
        enqueue(ERASE_TASK, of=None, queue="sweeping", lock=f"erasure:{key}", erasure_id=str(key))
    return len(keys)


def erase_person(erasure_id: uuid.UUID) -> None:
    """Erase one person now that it is due. Killed anywhere, it goes on from there when it is run again."""
    erasure = _begin(erasure_id)
    if erasure is None:
        return
    person = erasure.user
    address = person.email
    # Somebody's last request may have written something while the first rows went: until a whole round finds nothing.
    while sum(_all_of(step, person) for step in [*privacy.steps(), _erase_unclaimed, _end_sessions]):
        pass
    _empty(erasure.pk, person.pk)
    log.info("a person is erased", extra={"erasure": str(erasure.pk)})
    try:
        mail_person(address, "Your account is erased", "erased", {"days": settings.BACKUP_RETENTION_DAYS})
    except OSError as error:
        # There is no address left to try again with.
        log.warning("the last mail to an erased person wasn't sent", extra={"error": error})


@transaction.atomic
def _begin(erasure_id: uuid.UUID) -> Erasure | None:
    """Lock somebody out for good; None when it isn't time, or something is in the way."""
    erasure = (
        Erasure.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(pk=erasure_id, state__in=ERASURE_OPEN, due_at__lte=timezone.now())
        .first()
    )
    if erasure is None:
        return None
    person = erasure.user
    if erasure.state == ErasureState.SCHEDULED:
        erasure.obstacle = obstacle_to_erasing(person)
        if not erasure.obstacle:
            erasure.state = ErasureState.RUNNING
        erasure.save(update_fields=["obstacle", "state"])
        if erasure.obstacle:
            return None
    person.is_active, person.feed_key = False, None
    person.set_unusable_password()
    person.save(update_fields=["is_active", "feed_key", "password"])
    return erasure


def _all_of(step: privacy.Step, person: User) -> int:
    total = 0
    while done := step(person):
        total += done
    return total


def _erase_unclaimed(person: User) -> int:
    """Delete rows that would go with the person's own and that no app has said anything about."""
    said = {(part.model._meta.label, owner) for part in privacy.parts() for owner in part.owners}
    said |= {(reference.model._meta.label, reference.field) for reference in privacy.references()}
    total = 0
    for relation in User._meta.get_fields(include_hidden=True):
        if not isinstance(relation, models.ForeignObjectRel) or relation.on_delete is not models.CASCADE:
            continue
        model, name = relation.related_model, relation.field.name
        if (model._meta.label, name) in said:
            continue
        keys = list(model._base_manager.filter(**{name: person}).values_list("pk", flat=True)[: privacy.BATCH])
        model._base_manager.filter(pk__in=keys).delete()
        total += len(keys)
    return total


def _end_sessions(person: User) -> int:
    """Delete the person's sessions, also where they are cached."""
    engine = import_module(settings.SESSION_ENGINE)
    mine = [
        session.session_key
        for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator(chunk_size=privacy.BATCH)
        if session.get_decoded().get("_auth_user_id") == str(person.pk)
    ]
    for key in mine:
        engine.SessionStore(key).delete()
    return len(mine)


@transaction.atomic
def _empty(erasure_id: uuid.UUID, person_id: uuid.UUID) -> None:
    """Take everything from the person's row that says who it was."""
    now: datetime = timezone.now()
    person = User.objects.select_for_update(of=("self",)).get(pk=person_id)
    person.groups.clear()
    person.user_permissions.clear()
    person.email = f"deleted-{uuid.uuid4().hex}@deleted.invalid"
    person.display_name, person.pronouns, person.avatar, person.time_zone = DELETED_USER, "", "", "UTC"
    person.theme, person.last_login = Theme.AUTO, None
    person.is_staff = person.is_superuser = False
    person.erased_at = now
    person.save()
    erasure = Erasure.objects.select_for_update(of=("self",)).get(pk=erasure_id)
    erasure.state, erasure.finished_at = ErasureState.DONE, now
    erasure.save(update_fields=["state", "finished_at"])
    audit("erasure.done", erasure, by=None)
