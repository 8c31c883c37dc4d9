"""Asking people into a course who have no account yet."""

import base64
import logging
import secrets
import smtplib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formataddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

from accounts.access import Member, Refused, hash_token, require_set_up
from accounts.actions.auditing import audit, audit_each
from accounts.actions.courses import lock_course
from accounts.actions.people import register_person
from accounts.models import (
    INVITATION_LIFE,
    Course,
    CourseStatus,
    Enrollment,
    EnrollmentStatus,
    Invitation,
    Role,
    User,
)
from quokkaq.lib.jobs import enqueue_each
from quokkaq.lib.mail import deliver

log = logging.getLogger(__name__)
SEND_INVITATION_TASK = "accounts.send_invitation"
# So that nobody's mailbox is filled by a button.
RESEND_AFTER = timedelta(minutes=10)


class InvitationNotSentError(Exception):
    """The mail server didn't take the mail. The message is the class of its error: its text may hold an address."""


@dataclass(frozen=True)
class Wish:
    """Whom to invite, and as what."""

    email: str
    role: str = Role.STUDENT
    section: str = ""
    sis_id: str = ""


# The secret in the link


def make_token(invitation: Invitation, secret: str = "") -> str:
    """Return the secret of an invitation's link: 256 bits, made from the site's key and never kept."""
    value = f"{invitation.pk}:{invitation.nonce}"
    digest = salted_hmac("quokkaq.invitation", value, secret=secret or settings.SECRET_KEY, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def link_of(invitation: Invitation) -> str:
    """Return the address that is mailed. It proves the mailbox: show it to nobody else."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        token = make_token(invitation, secret)
        if secrets.compare_digest(hash_token(token), invitation.token_hash):
            return f"{settings.BASE_URL}{reverse('accounts:invitation', args=[token])}"
    raise InvitationNotSentError("KeyChanged")


def _renew(invitation: Invitation) -> None:
    """Give it a new link and new time. The old link stops working once this is saved."""
    invitation.nonce = secrets.token_hex(16)
    invitation.token_hash = hash_token(make_token(invitation))
    invitation.expires_at = timezone.now() + INVITATION_LIFE
    invitation.last_sent_at = None
    invitation.mail_problem = ""


# Inviting


@transaction.atomic
def invite_people(*, by: Member, wishes: Sequence[Wish]) -> list[Invitation]:
    """Invite people by address; who is invited to the course already is asked again, as what is wished now.

    Whether an address belongs to somebody elsewhere is neither asked nor told.
    """
    require_set_up(by, "people")
    course = lock_course(by)
    emails = [wish.email for wish in wishes]
    pending = {row.email: row for row in Invitation.objects.of_course(by).pending().filter(email__in=emails)}
    made, again = [], []
    for wish in wishes:
        row = pending.get(wish.email)
        if row is None:
            row = Invitation(institution_id=course.institution_id, course=course, email=wish.email)
            made.append(row)
        else:
            again.append(row)
        row.role, row.section, row.invited_by = wish.role, wish.section, by.user
        row.sis_id = wish.sis_id or row.sis_id
        _renew(row)
    Invitation.objects.bulk_create(made, batch_size=1000)
    fields = ["role", "section", "invited_by", "sis_id", *_RENEWED]
    Invitation.objects.bulk_update(again, fields, batch_size=500)
    audit_each("invitation.sent", [(row, {"role": str(row.role)}) for row in made], by=by.user, course=course)
    audit_each("invitation.renewed", [(row, {"role": str(row.role)}) for row in again], by=by.user, course=course)
    _enqueue([*made, *again])
    return [*made, *again]


_RENEWED = ("nonce", "token_hash", "expires_at", "last_sent_at", "mail_problem")


def _enqueue(invitations: Sequence[Invitation]) -> None:
    """Have each mailed. The jobs hold keys of rows only."""
    for start in range(0, len(invitations), 1000):
        some = invitations[start : start + 1000]
        jobs = [{"invitation_id": str(row.pk)} for row in some]
        enqueue_each(SEND_INVITATION_TASK, jobs, of=some[0].institution_id, queue="mail")


@transaction.atomic
def resend_invitation(*, by: Member, invitation: Invitation) -> None:
    """Mail a new link; the old one stops working. Raises `Refused` when that was done just now."""
    row, course = _lock_pending(by, invitation)
    if row.last_sent_at is not None and row.last_sent_at > timezone.now() - RESEND_AFTER:
        raise Refused("This was sent a few minutes ago. Wait ten minutes before you send it again.")
    if row.last_sent_at is None and not row.mail_problem:
        raise Refused("This mail is on its way already.")
    _renew(row)
    row.save(update_fields=_RENEWED)
    audit("invitation.renewed", row, by=by.user, course=course)
    _enqueue([row])


@transaction.atomic
def revoke_invitation(*, by: Member, invitation: Invitation) -> None:
    """Take an invitation back. Its link stops working at once."""
    row, course = _lock_pending(by, invitation)
    row.revoked_at = timezone.now()
    row.save(update_fields=["revoked_at"])
    audit("invitation.revoked", row, by=by.user, course=course)


def _lock_pending(by: Member, invitation: Invitation) -> tuple[Invitation, Course]:
    require_set_up(by, "people")
    course = lock_course(by)
    row = Invitation.objects.of_course(by).pending().select_for_update(of=("self",)).filter(pk=invitation.pk).first()
    if row is None:
        raise Refused("This invitation was accepted or taken back meanwhile.")
    return row, course


def replace_links(invitations: Sequence[Invitation]) -> int:
    """Give invitations of one institution new links, mailed where they are still open; return how many.

    Call it inside a transaction that holds their locks.
    """
    for row in invitations:
        until = row.expires_at
        _renew(row)
        row.expires_at = until
    Invitation.objects.bulk_update(invitations, _RENEWED, batch_size=500)
    still_open = [row for row in invitations if row.is_open]
    _enqueue(still_open)
    audit_each("invitation.renewed", [(row, {}) for row in still_open], by=None)
    return len(invitations)


def close_invitations(course: Course, emails: Collection[str], *, by: User) -> None:
    """Take back what still waits for these addresses: their place in the course was decided otherwise.

    Call it inside a transaction that holds the course's lock.
    """
    rows = list(Invitation.objects.pending().filter(course=course, email__in=emails))
    Invitation.objects.filter(pk__in=[row.pk for row in rows]).update(revoked_at=timezone.now())
    audit_each("invitation.revoked", [(row, {}) for row in rows], by=by, course=course)


# Accepting


GONE = "This invitation doesn’t work any more."


@transaction.atomic
def accept_invitation(*, by: User, invitation: Invitation) -> Enrollment:
    """Let who was invited into the course; once more changes nothing. Raises `Refused`.

    Somebody who is in the course already stays what they are there.
    """
    course = Course.objects.select_for_update(no_key=True).get(pk=invitation.course_id)
    row = Invitation.objects.select_for_update(of=("self",)).get(pk=invitation.pk)
    if by.institution_id != row.institution_id or by.email != row.email:
        raise Refused("This invitation is for another address.")
    there = Enrollment.objects.filter(course=course, user=by).first()
    if row.accepted_by_id == by.pk and there is not None and there.status != EnrollmentStatus.DROPPED:
        return there
    if not row.is_open:
        raise Refused(GONE)
    if course.status != CourseStatus.ACTIVE:
        raise Refused("This course is archived now: nobody can join it.")
    sis_id = row.sis_id
    if sis_id and Enrollment.objects.filter(course=course, sis_id=sis_id).exists():
        sis_id = ""
    if there is None:
        there = Enrollment.objects.create(
            institution_id=row.institution_id, course=course, user=by, role=row.role, section=row.section, sis_id=sis_id
        )
    elif there.status == EnrollmentStatus.DROPPED:
        there.status, there.role, there.section = EnrollmentStatus.ACTIVE, row.role, row.section
        there.save(update_fields=["status", "role", "section"])
    row.accepted_at, row.accepted_by = timezone.now(), by
    row.save(update_fields=["accepted_at", "accepted_by"])
    audit("invitation.accepted", there, by=by, course=course, role=str(there.role))
    return there


@transaction.atomic
@sensitive_variables("password")
def accept_as_new_person(*, invitation: Invitation, display_name: str, password: str) -> User:
    """Make an account for who was invited, and let them in: the link they hold proves the address. Raises `Refused`."""
    row = Invitation.objects.select_for_update(of=("self",)).select_related("institution").get(pk=invitation.pk)
    if not row.is_open:
        raise Refused(GONE)
    user = register_person(institution=row.institution, email=row.email, display_name=display_name, password=password)
    accept_invitation(by=user, invitation=row)
    return user


# Mailing


def send_invitation(invitation_id: uuid.UUID) -> None:
    """Mail an invitation that waits to be sent. Cut off after the server took it, the same mail is sent again.

    Raises `InvitationNotSentError`: the task is tried again. A server that says it will never take it isn't asked again.
    """
    rows = Invitation.objects.select_related("course", "institution", "invited_by")
    row = rows.filter(pk=invitation_id, last_sent_at=None).first()
    if row is None or not row.is_open or not settings.MAIL_IS_ON:
        return
    waiting = Invitation.objects.filter(pk=row.pk, nonce=row.nonce)
    try:
        deliver(_message(row))
    except Exception as error:
        if _is_final(error):
            waiting.update(mail_problem=type(error).__name__[:80])
            return
        name = str(error) if isinstance(error, InvitationNotSentError) else type(error).__name__
        raise InvitationNotSentError(name) from None
    waiting.update(last_sent_at=timezone.now(), mail_problem="")


def give_up_invitation(invitation_id: uuid.UUID, error: BaseException) -> None:
    """Note that an invitation can't be mailed; its course's staff see that and send it again."""
    Invitation.objects.filter(pk=invitation_id, last_sent_at=None).update(mail_problem=str(error)[:80] or "unknown")


def _message(row: Invitation) -> EmailMultiAlternatives:
    course = row.course
    context: dict[str, Any] = {
        "subject": f"Your invitation to {course.code} {course.name}",
        "course": course,
        "institution": row.institution,
        "inviter": row.invited_by.display_name if row.invited_by else "",
        "role": row.get_role_display().lower(),
        "url": link_of(row),
        "expires_at": row.expires_at,
    }
    message = EmailMultiAlternatives(
        _one_line(str(context["subject"])),
        render_to_string("emails/invitation.txt", context),
        settings.DEFAULT_FROM_EMAIL,
        [row.email],
        headers={
            "From": formataddr((_one_line(f"{course.code} · QuokkaQ"), settings.DEFAULT_FROM_EMAIL)),
            "X-Auto-Response-Suppress": "All",
            "Auto-Submitted": "auto-generated",
            # The same each time this link is sent: a server or reader that has it knows it again.
            "Message-ID": f"<invitation.{row.pk.hex}.{row.token_hash[:12]}@{settings.MAIL_DOMAIN}>",
        },
    )
    message.attach_alternative(render_to_string("emails/invitation.html", context), "text/html")
    return message


def _one_line(text: str) -> str:
    """Return text as a header can hold it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _is_final(error: Exception) -> bool:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600
