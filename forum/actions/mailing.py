"""Mail about what people were told: one mail for all that is due, sent once, readable by nobody else.

Three steps, each in a transaction of its own and each found again when the one before was cut off: what is due
(`enqueue_due_mail`), put into a mail (`compose_mail`), sent (`send_mail`).
"""

import base64
import hmac
import re
import secrets
import smtplib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formataddr
from functools import cached_property

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import F
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.access import Member
from accounts.models import Course, User
from forum import access
from forum.actions.following import set_follow
from forum.actions.telling import preferences_of, set_preferences, stop_all_mail
from forum.models import (
    DESPITE_MUTE,
    Anonymity,
    Delivery,
    FollowState,
    Mail,
    MailState,
    Notification,
    NotificationKind,
    Post,
    ReplyAddress,
    Thread,
)
from forum.sentences import Told, gather
from quokkaq.lib import tenancy
from quokkaq.lib.jobs import enqueue_each_once
from quokkaq.lib.mail import deliver

COMPOSE_TASK = "forum.compose_mail"
SEND_TASK = "forum.send_mail"
REPLY_MARKER = "Reply above this line"
# How long a mail may wait for its job before another one is made.
UNSENT_AFTER = timedelta(minutes=1)
_BATCH = 1000
_EXCERPT = 400
# An answer to one of these belongs to whoever decided, and not into the thread.
_UNANSWERED = (NotificationKind.FLAGGED, NotificationKind.PENDING, NotificationKind.DECISION)


class MailNotSentError(Exception):
    """The mail server didn't take a mail. The message is the class of its error: its text may hold an address."""


# What is due


def enqueue_due_mail() -> int:
    """Enqueue one job for each person whom mail is due; return for how many."""
    due = Notification.objects.filter(mailed_at=None, mail_due_at__lte=timezone.now())
    oldest = due.order_by("user_id", "mail_due_at", "pk").distinct("user_id").values_list("pk", flat=True)
    # The job is named after what the person was told, not after the person: operators see the list of jobs.
    return _enqueue_each(COMPOSE_TASK, "notification_id", oldest[:_BATCH])


def enqueue_unsent_mail() -> int:
    """Enqueue what still waits though its job should have sent it; return how much that is."""
    waiting = Mail.objects.filter(state=MailState.QUEUED, created_at__lt=timezone.now() - UNSENT_AFTER)
    return _enqueue_each(SEND_TASK, "mail_id", waiting.order_by("created_at").values_list("pk", flat=True)[:_BATCH])


def _enqueue_each(task: str, name: str, values: Iterable[uuid.UUID]) -> int:
    """Enqueue a job for each value that has none yet; return for how many. While thousands wait, most have one."""
    jobs = {f"{task}:{value}": {name: str(value)} for value in values}
    return enqueue_each_once(task, jobs, of=None, queue="mail")


# Putting it into a mail


@transaction.atomic
def compose_mail(notification_id: uuid.UUID) -> Mail | None:
    """Put all that is due to the person who was told `notification_id` into one mail, and enqueue it.

    What they have read in the meantime, or may not read any more, needs no mail. None when nothing is left.
    """
    first = Notification.objects.select_related("user").filter(pk=notification_id).first()
    if first is None:
        return None
    user = first.user
    # What comes within the pause belongs to the same burst. The lock makes a second job wait, and then find nothing.
    soon = timezone.now() + timedelta(seconds=settings.MAIL_BURST_SECONDS)
    due = Notification.objects.filter(user=user, mailed_at=None, mail_due_at__lte=soon)
    locked = list(due.order_by("pk").select_for_update(of=("self",)).values_list("pk", "mail_due_at"))
    if not any(at <= timezone.now() for _, at in locked if at is not None):
        return None
    keys = [pk for pk, _ in locked]
    takes_mail = user.is_active and user.is_reachable
    rows = Notification.objects.visible_to(user).with_what().filter(pk__in=keys, read_at=None) if takes_mail else []
    mail = _compose(user, list(rows))
    Notification.objects.filter(pk__in=keys).update(mailed_at=timezone.now())
    return mail


def _compose(user: User, rows: list[Notification]) -> Mail | None:
    rows.sort(key=lambda row: (row.created_at, row.pk), reverse=True)
    lines = gather(rows, access.members_of(user, {row.course_id for row in rows}))
    if not lines:
        return None
    threads = list(dict.fromkeys(line.thread.pk for line in lines))
    by_thread = [[line for line in lines if line.thread.pk == key] for key in threads]
    letter = _Letter(user, by_thread)
    return queue_mail(
        user=user, subject=letter.subject, headers=letter.headers,
        text=render_to_string("emails/told.txt", letter.context),
        html=absolute(render_to_string("emails/told.html", letter.context)),
    )  # fmt: skip


def queue_mail(*, user: User, subject: str, text: str, html: str, headers: dict[str, str]) -> Mail:
    """Keep a mail to be sent, and enqueue sending it, both or neither."""
    mail = Mail.objects.create(
        institution_id=user.institution_id,
        user=user,
        message_id=f"<{secrets.token_hex(16)}@{settings.MAIL_DOMAIN}>",
        subject=one_line(subject)[:300],
        text=text,
        html=html,
        headers={name: one_line(value) for name, value in headers.items()},
    )
    _enqueue_each(SEND_TASK, "mail_id", [mail.pk])
    return mail


class _Letter:
    """Words and headers of a mail about one thread, or of a digest of several."""

    def __init__(self, user: User, by_thread: Sequence[Sequence[Told]]) -> None:
        self.user = user
        self.by_thread = by_thread
        self.lines = [line for lines in by_thread for line in lines]
        self.courses = list({line.course.pk: line.course for line in self.lines}.values())
        self.kinds = {NotificationKind(line.kind) for line in self.lines}

    @cached_property
    def thread(self) -> Thread | None:
        """Return the thread all is about; None in a digest."""
        return self.lines[0].thread if len(self.by_thread) == 1 else None

    @cached_property
    def course(self) -> Course | None:
        return self.courses[0] if len(self.courses) == 1 else None

    @cached_property
    def reply_to(self) -> str:
        """Return the address that takes answers; empty when an answer would have nowhere to go."""
        if self.thread is None or not settings.REPLY_DOMAIN or self.kinds & set(_UNANSWERED):
            return ""
        return reply_address(self.user, self.thread)

    @cached_property
    def subject(self) -> str:
        if self.thread is not None:
            return f"[{self.lines[0].course.code}] #{self.thread.number} {self.thread.title}"
        where = self.course.code if self.course else "QuokkaQ"
        return f"[{where}] News in {len(self.by_thread)} threads"

    @cached_property
    def unsubscribe_url(self) -> str:
        kind = next(iter(self.kinds)) if len(self.kinds) == 1 and self.course else None
        if self.thread is not None and not self.kinds & set(DESPITE_MUTE):
            default = "thread"
        else:
            default = "kind" if kind else "all"
        return unsubscribe_url(self.user, self.lines[0].thread, kind, default)

    @cached_property
    def headers(self) -> dict[str, str]:
        headers = standard_headers(self.course, self.thread)
        headers["Auto-Submitted"] = "auto-generated"
        headers["Precedence"] = "bulk"
        headers["List-Unsubscribe"] = f"<{self.unsubscribe_url}>"
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        if self.course is not None:
            headers["List-Id"] = _list_id(self.user, self.course)
        if self.reply_to:
            headers["Reply-To"] = self.reply_to
        return headers

    @cached_property
    def context(self) -> dict[str, object]:
        return {
            "subject": self.subject,
            "threads": [
                {
                    "course": lines[0].course,
                    "thread": lines[0].thread,
                    "url": absolute_url(lines[0].thread.get_absolute_url()),
                    "lines": [_said(line, whole=self.thread is not None) for line in lines],
                }
                for lines in self.by_thread
            ],
            "is_digest": self.thread is None,
            "marker": REPLY_MARKER if self.reply_to else "",
            "reply_name": self._reply_name() if self.reply_to else "",
            "unsubscribe_url": self.unsubscribe_url,
            "settings_url": absolute_url(reverse("inbox:preferences")),
        }

    def _reply_name(self) -> str:
        """Say under which name an answer by mail is posted."""
        member = self.lines[0].member
        anonymity = anonymity_in(member, self.lines[0].thread)
        return "under your name" if anonymity == Anonymity.NAMED else "under your pseudonym"


def _said(line: Told, *, whole: bool) -> dict[str, object]:
    """Return a line and the texts it is about, oldest first; in a digest only their beginning."""
    texts = []
    if line.kind not in (NotificationKind.ACCEPTED, NotificationKind.AI_ANSWER, NotificationKind.ENDORSEMENT):
        for row in reversed(line.rows):
            writing: Thread | Post = row.post or row.thread
            short = _excerpt(writing.body)
            texts.append({
                "name": writing.byline(line.member).name if len(line.rows) > 1 else "",
                "text": writing.body if whole else short,
                "html": writing.html() if whole else "",
                "short": short,
            })  # fmt: skip
    return {"sentence": str(line.sentence), "url": absolute_url(line.url), "texts": texts}


def _excerpt(body: str) -> str:
    flat = " ".join(body.split())
    return flat if len(flat) <= _EXCERPT else f"{flat[:_EXCERPT].rsplit(' ', 1)[0]} …"


def standard_headers(course: Course | None, thread: Thread | None) -> dict[str, str]:
    """Return what every mail of a course has: where it comes from and which thread it belongs to. Nobody's name."""
    sender = f"{course.code} · QuokkaQ" if course else "QuokkaQ"
    headers = {"From": formataddr((one_line(sender), settings.DEFAULT_FROM_EMAIL)), "X-Auto-Response-Suppress": "All"}
    if thread is not None:
        headers["In-Reply-To"] = headers["References"] = f"<thread.{thread.pk.hex}@{settings.MAIL_DOMAIN}>"
    return headers


def _list_id(user: User, course: Course) -> str:
    return f"<{course.slug}.{user.institution.slug}.{settings.MAIL_DOMAIN}>"


def one_line(text: str) -> str:
    """Return text as a header can hold it: line ends and other control characters would begin a new one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def absolute_url(path: str) -> str:
    return f"{settings.BASE_URL}{path}"


def absolute(html: str) -> str:
    """Return HTML whose links lead to this site from anywhere; `render` wrote them, so their form is known."""
    return re.sub(r'href="/(?!/)', f'href="{settings.BASE_URL}/', html)


def anonymity_in(member: Member, thread: Thread) -> Anonymity:
    """Return how the member hides in a thread already, or that they don't."""
    for rows in (Thread.objects.filter(pk=thread.pk), Post.objects.filter(thread=thread)):
        found = rows.filter(author=member.user).exclude(anonymity=Anonymity.NAMED).values_list("anonymity", flat=True)
        for anonymity in found[:1]:
            return Anonymity(anonymity)
    return Anonymity.NAMED


# Addresses that take replies


def reply_address(user: User, thread: Thread) -> str:
    """Return the address under which this person's answers to this thread come in."""
    key = _key_of(user, thread)
    return f"reply+{key}{_signature(key, settings.SECRET_KEY)}@{settings.REPLY_DOMAIN}"


def find_reply_address(local_part: str) -> ReplyAddress | None:
    """Return whose and which thread's address has this local part; None for one we haven't given out."""
    match = re.fullmatch(r"reply\+([0-9a-f]{20})([a-z2-7]{16})", local_part.lower())
    if match is None:
        return None
    key, signature = match.groups()
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(hmac.compare_digest(signature, _signature(key, secret)) for secret in keys):
        return None
    with tenancy.scope(tenancy.reach("reply_address", key)):
        return ReplyAddress.objects.select_related("user", "thread__course").filter(key=key).first()


def _signature(key: str, secret: str) -> str:
    digest = salted_hmac("quokkaq.reply_address", key, secret=secret, algorithm="sha256").digest()
    return base64.b32encode(digest[:10]).decode().lower()


def _key_of(user: User, thread: Thread) -> str:
    row = ReplyAddress(institution_id=thread.institution_id, user=user, thread=thread, key=secrets.token_hex(10))
    ReplyAddress.objects.bulk_create([row], ignore_conflicts=True)
    return ReplyAddress.objects.get(user=user, thread=thread).key


# Sending


def send_mail(mail_id: uuid.UUID) -> None:
    """Send a mail that waits. Cut off after the server took it, it is sent again, as the same mail.

    Raises `MailNotSentError`: the task is tried again. A server that says it will never take it isn't asked again.
    """
    mail = Mail.objects.select_related("user").filter(pk=mail_id, state=MailState.QUEUED).first()
    if mail is None:
        return
    Mail.objects.filter(pk=mail_id).update(attempts=F("attempts") + 1)
    message = EmailMultiAlternatives(
        mail.subject, mail.text, settings.DEFAULT_FROM_EMAIL, [mail.user.email],
        headers={**mail.headers, "Message-ID": mail.message_id},
    )  # fmt: skip
    message.attach_alternative(mail.html, "text/html")
    try:
        deliver(message)
    except Exception as error:
        if _is_final(error):
            fail_mail(mail_id, error)
            return
        Mail.objects.filter(pk=mail_id).update(error_code=type(error).__name__[:80])
        raise MailNotSentError(type(error).__name__) from None
    Mail.objects.filter(pk=mail_id, state=MailState.QUEUED).update(
        state=MailState.SENT, sent_at=timezone.now(), error_code=""
    )


def _is_final(error: Exception) -> bool:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600


def fail_mail(mail_id: uuid.UUID, error: BaseException) -> None:
    """Give up on a mail; the admin shows it with the kind of error."""
    code = str(error) if isinstance(error, MailNotSentError) else type(error).__name__
    Mail.objects.filter(pk=mail_id, state=MailState.QUEUED).update(state=MailState.FAILED, error_code=code[:80])


# Unsubscribing


@dataclass(frozen=True)
class Unsubscription:
    """What the link in a mail may switch off: `what` by one click, the others by choice.

    It says no titles: the link outlives the right to read.
    """

    user: User
    thread: Thread
    kind: NotificationKind | None
    what: str

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Return what can be switched off, with its label, what the mail was about first."""
        found = [
            ("thread", f"Mute thread #{self.thread.number} of {self.thread.course.code}"),
            ("all", "Stop all mail from QuokkaQ"),
        ]
        if self.kind is not None:
            label = f"No more mail of this kind in {self.thread.course.code}: {self.kind.label.replace(' (staff)', '')}"
            found.insert(1, ("kind", label))
        return sorted(found, key=lambda choice: choice[0] != self.what)


def _signer() -> signing.Signer:
    """Made when it is needed: one made earlier would keep the key of then."""
    return signing.Signer(salt="quokkaq.unsubscribe")


def unsubscribe_url(user: User, thread: Thread, kind: NotificationKind | None, what: str) -> str:
    """Return the link that switches mail off without signing in. It says nothing about whose it is."""
    token = _signer().sign_object([_key_of(user, thread), kind, what])
    return absolute_url(reverse("inbox:unsubscribe", args=[token]))


def institution_of_unsubscribe(token: str) -> uuid.UUID | None:
    """Return where the person a link was mailed to belongs; None when it was altered."""
    try:
        return tenancy.reach("reply_address", _signer().unsign_object(token)[0])
    except (signing.BadSignature, ValueError):
        return None


def read_unsubscribe(token: str) -> Unsubscription | None:
    """Return what a link switches off; None when it was altered, or what it is about is gone."""
    try:
        key, kind, what = _signer().unsign_object(token)
    except (signing.BadSignature, ValueError):
        return None
    row = ReplyAddress.objects.select_related("user", "thread__course").filter(key=key).first()
    return Unsubscription(row.user, row.thread, NotificationKind(kind) if kind else None, what) if row else None


@transaction.atomic
def act_on_unsubscribe(*, wish: Unsubscription, what: str) -> None:
    """Do what the person chose: mute the thread, stop mail of the kind in the course, or stop all mail."""
    if what == "all":
        stop_all_mail(by=wish.user)
    elif what == "kind" and wish.kind is not None:
        own = preferences_of(wish.user, wish.thread.course)[wish.kind] or preferences_of(wish.user, None)[wish.kind]
        in_app = own[0] if own else True
        set_preferences(by=wish.user, course=wish.thread.course, choices={wish.kind: (in_app, Delivery.OFF)})
    else:
        member = access.members_of(wish.user, {wish.thread.course_id}).get(wish.thread.course_id)
        if member is not None and not wish.thread.deleted_at:
            set_follow(by=member, thread=wish.thread, state=FollowState.MUTED)
