"""Handing a mail to the mail server, which is counted."""

from django.core.mail import EmailMessage

from quokkaq.lib.metrics.definitions import MAILS


def deliver(message: EmailMessage) -> None:
    """Send a mail. Raises what the mail server, or the way to it, raises."""
    try:
        message.send()
    except Exception:
        MAILS.inc("failed")
        raise
    MAILS.inc("sent")
