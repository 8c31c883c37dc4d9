"""System checks: what `manage.py check` says about a configuration that would surprise later."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as CheckWarning


@register(Tags.security, deploy=True)
def check_backups_leave_the_machine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A backup on the disk it backs up is lost with it."""
    if settings.BACKUP_BUCKET_NAME:
        return []
    return [
        CheckWarning(
            "Backups stay on this machine's disk.",
            hint="Set BACKUP_BUCKET_NAME to a private S3 bucket.",
            id="quokkaq.W001",
        )
    ]


@register(deploy=True)
def check_mail_goes_out(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Without a mail server people hear of answers only when they come and look."""
    if settings.MAIL_IS_ON:
        return []
    return [
        CheckWarning(
            "No mail goes out: people hear of replies on the site only.",
            hint="Set EMAIL_URL, BASE_URL and DEFAULT_FROM_EMAIL.",
            id="quokkaq.W003",
        )
    ]


@register(Tags.security, deploy=True)
def check_metrics_are_guarded(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Without a token `/metrics` answers 404, and nobody would be told when something breaks."""
    if len(settings.METRICS_TOKEN) >= 16:
        return []
    return [
        CheckWarning(
            "METRICS_TOKEN is missing or shorter than 16 characters: /metrics is off or easy to guess.",
            hint="Set METRICS_TOKEN and give it to Prometheus as the bearer token.",
            id="quokkaq.W002",
        )
    ]
