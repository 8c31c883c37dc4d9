"""System checks: what `manage.py check` says about a configuration that would surprise later."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import connection

from quokkaq.lib import sandbox
from quokkaq.row_security import indexes_are_used


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


@register(Tags.security, deploy=True)
def check_backups_are_encrypted(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whoever can read the place they lie in can read what people wrote."""
    if settings.DBBACKUP_GPG_RECIPIENT or not settings.BACKUP_ENCRYPTION:
        return []
    return [
        CheckWarning(
            "Backups are not encrypted.",
            hint="Set BACKUP_GPG_RECIPIENT to the fingerprint of a public key, or BACKUP_ENCRYPTION=no to do without.",
            id="quokkaq.W009",
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
def check_web_is_walled_in(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Who owns the tables can take the wall between institutions down."""
    if settings.DATABASE_OWNER["USER"] != settings.DATABASE_WEB_ROLE:
        return []
    return [
        CheckWarning(
            "Web and worker reach the database as the owner of its tables.",
            hint="Set OWNER_DATABASE_URL for commands, and another account in DATABASE_URL: migrate makes it.",
            id="quokkaq.W007",
        )
    ]


@register(Tags.database)
def check_indexes_below_policies(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Below row-level security PostgreSQL uses no index of a function that might tell of hidden rows."""
    if not databases:
        return []
    with connection.cursor() as cursor:
        if indexes_are_used(cursor):
            return []
    return [
        CheckWarning(
            "Full-text search reads every row of a course: its index can't be used below row-level security.",
            hint="docs/operating.md says which two functions a superuser marks LEAKPROOF.",
            id="quokkaq.W008",
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


@register(Tags.security, deploy=True)
def check_files_are_scanned(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Say when files wait for a scanner that isn't there, go unscanned, or are read with the network in reach."""
    found: list[CheckMessage] = []
    if settings.SCAN_UPLOADS and not settings.CLAMD_URL:
        found.append(
            CheckWarning(
                "Files people send are never released: there is no scanner.",
                hint="Set CLAMD_URL, or SCAN_UPLOADS=no to do without.",
                id="quokkaq.W004",
            )
        )
    if not settings.SCAN_UPLOADS and not settings.CLAMD_URL:
        found.append(
            CheckWarning("Files people send are not scanned for viruses.", hint="Set CLAMD_URL.", id="quokkaq.W005")
        )
    if not sandbox.cuts_network():
        found.append(
            CheckWarning(
                "On this system, files are read in a process that can reach the network.",
                hint="Run QuokkaQ on Linux (x86-64 or arm64).",
                id="quokkaq.W006",
            )
        )
    return found
