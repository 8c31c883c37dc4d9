"""Mails about somebody's account. Tasks send them, never a request."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from quokkaq.lib.mail import deliver


def mail_person(address: str, subject: str, template: str, context: Mapping[str, Any]) -> None:
    """Send one plain mail, made from `emails/<template>.txt`. Raises when the mail server doesn't take it."""
    if not settings.MAIL_IS_ON:
        return
    text = render_to_string(f"emails/{template}.txt", {**context, "base_url": settings.BASE_URL})
    headers = {"Auto-Submitted": "auto-generated"}
    deliver(EmailMessage(subject, text, to=[address], headers=headers))
