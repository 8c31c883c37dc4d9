"""Letting go of what is too old."""

import logging
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from accounts.retention import rules

log = logging.getLogger(__name__)


def forget_old(institution_id: UUID | None) -> dict[str, int]:
    """Delete what is too old: an institution's, in its scope, or (None) what belongs to none. Return how many rows, by rule.

    One rule that fails keeps no other from its work; the failure is raised at the end.
    """
    counts: dict[str, int] = {}
    failed: Exception | None = None
    for rule in rules():
        if rule.is_shared != (institution_id is None):
            continue
        try:
            counts[rule.name] = rule.forget(institution_id)
        except Exception as error:
            log.exception("old rows couldn't be deleted", extra={"rule": rule.name})
            failed = error
    gone = {name: count for name, count in counts.items() if count}
    if gone:
        log.info("old rows are deleted", extra={"institution": str(institution_id or ""), "rows": gone})
    if failed is not None:
        raise failed
    return counts


def count_old(institution_id: UUID | None) -> dict[str, int]:
    """Return how many rows would go now, by rule."""
    return {
        rule.name: rule.rows(institution_id).count() for rule in rules() if rule.is_shared == (institution_id is None)
    }


def purge_audit(institution_id: UUID | None, before: datetime, most: int) -> int:
    """Delete a batch of the audit log older than a year, the one way the database allows."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT accounts_purge_audit(%s, %s, %s)", [institution_id, before, most])
        return int(cursor.fetchone()[0])


def purge_sessions(institution_id: UUID | None, before: datetime, most: int) -> int:
    """Delete a batch of the sessions that have ended: nobody's, so whose they were isn't asked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT accounts_purge_sessions(%s, %s)", [before, most])
        return int(cursor.fetchone()[0])
