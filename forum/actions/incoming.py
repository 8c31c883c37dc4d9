"""Replies that come in by mail."""

import hashlib
import html
import logging
import re
import uuid
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from email.utils import getaddresses

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404
from django.template.loader import render_to_string
from django.utils import timezone
from mailparser_reply.parser import EmailMessage as QuotedMessage

from accounts.access import Member, get_member
from accounts.models import User
from forum import access
from forum.actions.mailing import (
    REPLY_MARKER,
    absolute_url,
    anonymity_in,
    find_reply_address,
    queue_mail,
    standard_headers,
)
from forum.actions.posts import add_reply
from forum.models import MAX_BODY, InboundMail, InboundOutcome, Post, ReplyAddress, Thread
from quokkaq.lib import tenancy

log = logging.getLogger(__name__)

MAX_MAIL_BYTES = 1024 * 1024
# Answers an hour that say a reply couldn't be posted; what comes beyond is ignored, so that two robots can't talk for ever.
MAX_REFUSALS_PER_HOUR = 5
# What is looked at for the reply: beyond it stand only quoted texts.
_MAX_TEXT = 4 * MAX_BODY
_MAX_LINES = 2_000
_MAX_SEEN = 200
_RECIPIENTS = ("Delivered-To", "X-Original-To", "Envelope-To", "To", "Cc")
_LANGUAGES = ["en", "de", "cs", "da", "es", "fr", "it", "ja", "ko", "nl", "pl", "sv", "zh"]
_NO_NAMESPACE = uuid.UUID("6e0f7f0e-6f3c-4f0e-9d3c-0d8b6a1c2b54")


class NotAMailError(ValueError):
    """What came in isn't a mail, or is larger than one may be."""


def receive_mail(raw: bytes) -> InboundOutcome:
    """Post what somebody answered by mail, or tell them why not. Delivered twice, it is posted once.

    Raises `NotAMailError`.
    """
    if len(raw) > MAX_MAIL_BYTES:
        raise NotAMailError("The mail is too large.")
    message = message_from_bytes(raw, policy=policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise NotAMailError("This is not a mail.")
    address = _addressed(message)
    if address is None:
        log.info("inbound mail ignored: no address of ours")
        return InboundOutcome.IGNORED
    with tenancy.scope(address.institution_id, address.user_id):
        return _receive(message, address, _digest(message, raw))


def _receive(message: EmailMessage, address: ReplyAddress, digest: str) -> InboundOutcome:
    known = InboundMail.objects.filter(user=address.user, digest=digest).first()
    if known is not None:
        return InboundOutcome(known.outcome)
    with transaction.atomic():
        outcome, reason, post = _take(message, address, digest)
        InboundMail.objects.bulk_create(
            [
                InboundMail(
                    institution_id=address.institution_id, user=address.user, thread=address.thread, post=post,
                    digest=digest, outcome=outcome, reason=reason[:200],
                )
            ],
            ignore_conflicts=True,
        )  # fmt: skip
    log.info("inbound mail %s", outcome, extra={"thread_id": str(address.thread_id), "outcome": str(outcome)})
    return outcome


def _take(message: EmailMessage, address: ReplyAddress, digest: str) -> tuple[InboundOutcome, str, Post | None]:
    """Post the reply, or refuse it; return what came of it, why, and the post."""
    if _is_automatic(message):
        return InboundOutcome.IGNORED, "An automatic answer.", None
    text, left_out = _text(message), _has_attachments(message)
    # One form key per mail: a reply is found again even if noting the mail was cut off.
    form_key = uuid.uuid5(_NO_NAMESPACE, digest)
    try:
        if _sender(message) != address.user.email:
            raise access.Refused("It came from another address than the one you sign in with. Send it from that one.")
        if not text:
            raise access.Refused(f"There was no text above the quoted mail. Write above the line “{REPLY_MARKER}”.")
        if len(text) > MAX_BODY:
            raise access.Refused(f"It is too long: {len(text)} characters. The limit is {MAX_BODY}.")
        with transaction.atomic():
            post = _post(address.user, address.thread, text, form_key)
    except access.Refused as refusal:
        return *_refuse(address, str(refusal), text), None
    if left_out:
        _answer(
            address, "Your reply is posted, without its attachments.", "Mails can't bring files along yet.", "", post
        )
    return InboundOutcome.POSTED, "", post


def _post(user: User, thread: Thread, text: str, form_key: uuid.UUID) -> Post:
    """Reply as the person may now. Raises `Refused` with a sentence for whatever is in the way."""
    try:
        member = get_member(user, thread.course.slug)
        thread = access.get_thread_of_posts(member, thread.number)
    except Http404:
        raise access.Refused("The thread isn't there any more, or you may not read it any longer.") from None
    if not user.is_active:
        raise access.Refused("Your account is closed.")
    anonymity = anonymity_in(member, thread)
    if not access.may_hide_as(member, anonymity):
        raise access.Refused(
            "You hide your name in this thread, which the course doesn't allow any more. "
            "Reply on the page if you want to show your name."
        )
    try:
        return add_reply(by=member, thread=thread, body=text, form_key=form_key, anonymity=anonymity)
    except PermissionDenied:
        raise access.Refused(_why_not(member)) from None


def _why_not(member: Member) -> str:
    return member.posting_closed or "The thread takes no replies now."


def _refuse(address: ReplyAddress, reason: str, text: str) -> tuple[InboundOutcome, str]:
    hour = timezone.now() - timedelta(hours=1)
    refused = InboundMail.objects.filter(user=address.user, outcome=InboundOutcome.REFUSED, created_at__gt=hour)
    if refused.count() >= MAX_REFUSALS_PER_HOUR:
        return InboundOutcome.IGNORED, f"Too many refused in an hour. {reason}"
    _answer(address, "Your reply was not posted.", reason, text, None)
    return InboundOutcome.REFUSED, reason


def _answer(address: ReplyAddress, headline: str, reason: str, text: str, post: Post | None) -> None:
    """Mail the person about their reply: to the address we know, whoever wrote."""
    thread = address.thread
    # Only the link and what they wrote themselves: they may not read the thread any more.
    url = absolute_url(thread.get_absolute_url() + (f"#post-{post.pk}" if post else ""))
    context = {
        "headline": headline,
        "reason": reason.replace(" Your text is still below.", ""),
        "kept": text,
        "url": url,
    }
    queue_mail(
        user=address.user,
        subject=f"[{thread.course.code}] {headline}",
        text=render_to_string("emails/answer.txt", context),
        html=render_to_string("emails/answer.html", context),
        headers={**standard_headers(thread.course, thread), "Auto-Submitted": "auto-replied", "Precedence": "bulk"},
    )


# Reading a mail


def _addressed(message: EmailMessage) -> ReplyAddress | None:
    """Return the address of ours the mail came to. A wrong header of somebody else's program isn't an error here."""
    for name in _RECIPIENTS:
        for _, address in getaddresses(_headers(message, name)):
            local, _, domain = address.rpartition("@")
            if domain.lower() == settings.REPLY_DOMAIN.lower() and domain:
                found = find_reply_address(local)
                if found is not None:
                    return found
    return None


def _headers(message: EmailMessage, name: str) -> list[str]:
    """Return the values of a header; one that Python can't parse counts as missing."""
    try:
        return [str(value) for value in message.get_all(name, [])]
    except (ValueError, IndexError, LookupError, AttributeError, TypeError):
        return []


def _header(message: EmailMessage, name: str) -> str:
    return next(iter(_headers(message, name)), "").strip()


def _sender(message: EmailMessage) -> str:
    """Return who the mail is from, in lower case; empty when that isn't exactly one address."""
    found = [address for _, address in getaddresses(_headers(message, "From"))]
    return found[0].lower() if len(found) == 1 else ""


def _digest(message: EmailMessage, raw: bytes) -> str:
    message_id = _header(message, "Message-ID")
    return hashlib.sha256(message_id.encode("utf-8", "replace") if message_id else raw).hexdigest()


def _is_automatic(message: EmailMessage) -> bool:
    """Tell whether a robot wrote: an out-of-office note must not be posted, nor answered."""
    submitted = _header(message, "Auto-Submitted").lower()
    return (
        (bool(submitted) and submitted.split(";")[0].strip() != "no")
        or _header(message, "Precedence").lower() in ("bulk", "junk", "auto_reply", "list")
        or any(_headers(message, name) for name in ("X-Autoreply", "X-Autorespond", "List-Id"))
        or _header(message, "Return-Path") == "<>"
        or message.get_content_type() in ("multipart/report", "message/delivery-status")
    )


def _has_attachments(message: EmailMessage) -> bool:
    return any(part.get_content_disposition() == "attachment" for part in message.walk())


def _text(message: EmailMessage) -> str:
    """Return what the person wrote, without quoted texts and signature; empty when that is nothing."""
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    text = _content(part)
    if part.get_content_subtype() == "html":
        text = text_of(text)
    return without_quotes(text)


def _content(part: MIMEPart) -> str:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset() or "utf-8"
    for name in (charset, "utf-8"):
        try:
            return raw.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return raw.decode("cp1252", "replace")


_HIDDEN = re.compile(r"(?is)<(style|script|head|title)\b.*?</\1\s*>|<!--.*?-->")
# Gmail, Outlook and Apple Mail mark what they quote.
_QUOTE = re.compile(
    r"(?is)<(?:div|blockquote)\b[^>]*(?:class=\"?[^\">]*gmail_quote|type=\"?cite|id=\"?(?:divRplyFwdMsg|appendonsend)).*"
)
_BREAK = re.compile(r"(?i)<br\s*/?>|</(?:p|div|li|tr|h[1-6]|blockquote|pre)\s*>")


def text_of(source: str) -> str:
    """Return the text of an HTML mail. What is left is text: it is rendered as Markdown, and sanitised, like any other."""
    source = _QUOTE.sub("", _HIDDEN.sub("", source[: MAX_MAIL_BYTES // 4]))
    text = re.sub(r"<[^<>]*>", "", _BREAK.sub("\n", re.sub(r"[ \t\r\n]+", " ", source)))
    lines = (line.strip() for line in html.unescape(text).replace("\xa0", " ").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def without_quotes(text: str) -> str:
    """Return what stands above the quoted mail and the signature, with its indentation: it may be code."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or (c.isprintable() and c != "\ufffd") or c == "\u200d")
    lines = text[:_MAX_TEXT].rstrip().lstrip("\n").split("\n")
    marked = next((n for n, line in enumerate(lines) if REPLY_MARKER in line), None)
    above = lines if marked is None else lines[:marked]
    # The library strips lines, and its patterns take quadratic time on long ones: it sees their beginnings only, and
    # what it says is the reply is looked up in the text as it came.
    short = [line.strip()[:_MAX_SEEN] for line in above[:_MAX_LINES]]
    parsed = QuotedMessage("\n".join(short), languages=list(_LANGUAGES), keep_hyphen_lists=True).read()
    # Its signatures end the text; what it takes for disclaimers may be somebody's sentence, and stays.
    first = parsed.replies[0]
    kept = _as_written(above, first.content.removesuffix(first.signatures).split("\n"))
    while kept and (not kept[-1].strip() or kept[-1].lstrip().startswith(">")):
        kept.pop()
    return "\n".join(kept).rstrip()


def _as_written(lines: list[str], said: list[str]) -> list[str]:
    """Return the lines that `said` holds stripped and cut off, in full and with their indentation."""
    kept: list[str] = []
    wanted = [line.strip() for line in said]
    for line in lines:
        seen = line.strip()[:_MAX_SEEN].strip()
        if seen:
            while wanted and not wanted[0]:
                wanted.pop(0)
        elif not kept:
            continue
        if not wanted:
            break
        if seen == wanted[0]:
            kept.append(line)
            wanted.pop(0)
        elif not seen:
            kept.append("")
    return kept
