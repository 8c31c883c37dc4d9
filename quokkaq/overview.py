"""The state of everything on one page, for operators. A fixed number of statements, however much there is."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import django
from django.conf import settings
from django.db import connection
from django.utils import timezone

from ai_answers.models import InstitutionAI
from ai_answers.spending import dollars
from quokkaq.lib.health import Outcome, State, is_ready, look
from quokkaq.lib.health.asking import Unanswered
from quokkaq.lib.health.checks import disk_used, memory_used, pending_migrations
from quokkaq.lib.health.views import uptime
from quokkaq.lib.version import commit
from quokkaq.models import Operation, OperationName

# So many rows of what may be many.
MOST = 20

_QUEUES = """
WITH first AS (
    SELECT queue_name, min(id) AS id FROM procrastinate_jobs WHERE status = 'todo' AND scheduled_at IS NULL GROUP BY queue_name
)
SELECT j.queue_name,
    count(*) FILTER (WHERE j.status = 'todo' AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())),
    count(*) FILTER (WHERE j.status = 'todo' AND j.scheduled_at > now()),
    count(*) FILTER (WHERE j.status = 'doing'),
    least(min(j.scheduled_at) FILTER (WHERE j.status = 'todo' AND j.scheduled_at <= now()),
        (SELECT min(e.at) FROM procrastinate_events e JOIN first ON first.id = e.job_id WHERE first.queue_name = j.queue_name))
FROM procrastinate_jobs j WHERE j.status IN ('todo', 'doing') GROUP BY j.queue_name ORDER BY j.queue_name
"""
_WORKERS = """
SELECT w.id, w.last_heartbeat, count(j.id) FROM procrastinate_workers w
LEFT JOIN procrastinate_jobs j ON j.worker_id = w.id AND j.status = 'doing'
GROUP BY w.id ORDER BY w.last_heartbeat DESC LIMIT %s
"""
_FAILING = """
SELECT j.id, j.task_name, j.queue_name, j.attempts, j.status::text, f.error, f.text, f.place,
    coalesce(f.failed_at, (SELECT max(e.at) FROM procrastinate_events e WHERE e.job_id = j.id AND e.type = 'failed')),
    count(*) OVER ()
FROM procrastinate_jobs j LEFT JOIN quokkaq_jobfailure f ON f.job_id = j.id
WHERE j.status = 'failed' OR (f.job_id IS NOT NULL AND j.status IN ('todo', 'doing'))
ORDER BY 9 DESC NULLS LAST, j.id DESC LIMIT %s
"""


@dataclass(frozen=True)
class Checked:
    """What one check found. `says` are its numbers."""

    name: str
    state: State
    is_needed: bool
    milliseconds: float
    says: str


@dataclass(frozen=True)
class Queue:
    name: str
    waiting: int
    scheduled: int
    running: int
    oldest: datetime | None


@dataclass(frozen=True)
class Worker:
    number: int
    heartbeat: datetime
    running: int
    is_late: bool


@dataclass(frozen=True)
class FailingJob:
    """`is_final`: it isn't tried again by itself."""

    number: int
    task: str
    queue: str
    attempts: int
    is_final: bool
    error: str
    text: str
    place: str
    failed_at: datetime | None


@dataclass(frozen=True)
class Budget:
    institution: str
    course: str
    percent: int
    used: str
    cap: str


@dataclass(frozen=True)
class Done:
    """What is done regularly, and when it was done last; `at` is None when it never was."""

    what: str
    at: datetime | None
    succeeded: bool
    size: int | None
    is_late: bool
    # Of backups: where the last good one lies, and what failed since.
    places: str = ""
    failures: int = 0
    failed_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True)
class Used:
    what: str
    percent: int


@dataclass(frozen=True)
class Overview:
    """Everything the page shows."""

    summary: str
    checks: Sequence[Checked]
    versions: Mapping[str, str]
    pending: Sequence[str]
    queues: Sequence[Queue]
    workers: Sequence[Worker]
    failing: Sequence[FailingJob]
    failing_count: int
    budgets: Sequence[Budget]
    done: Sequence[Done]
    used: Sequence[Used]
    settings: Mapping[str, str]


def overview() -> Overview:
    """Look at everything now."""
    found = look()
    failing, count = _failing()
    database, size = _rows("SELECT current_setting('server_version'), pg_database_size(current_database())")[0]
    return Overview(
        summary="ready"
        if all(one.state is State.UP for one in found.values())
        else "degraded"
        if is_ready(found)
        else "unavailable",
        checks=[_checked(name, outcome) for name, outcome in found.items()],
        versions={
            "QuokkaQ": f"{settings.VERSION} ({commit()[:12] or 'commit unknown'})",
            "Python": platform.python_version(),
            "Django": django.get_version(),
            "PostgreSQL": database.split()[0],
            "Database": _bytes(size),
            "This process runs for": str(timedelta(seconds=round(uptime()))),
        },
        pending=_pending(),
        queues=[Queue(*row) for row in _rows(_QUEUES)],
        workers=_workers(),
        failing=failing,
        failing_count=count,
        budgets=_budgets(),
        done=_done(),
        used=[Used(place, round(part * 100)) for place, part in disk_used().items()]
        + [Used("memory", round(memory_used() * 100))],
        settings=_settings(),
    )


def _rows(query: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def _checked(name: str, outcome: Outcome) -> Checked:
    says = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in outcome.detail.items() if value not in ([], "")
    )
    return Checked(name, outcome.state, name in settings.HEALTH_NEEDED, outcome.milliseconds, says)


def _pending() -> list[str]:
    try:
        return [f"{app} {name}" for app, name in pending_migrations()]
    except Unanswered:
        return ["unknown: the database didn’t say"]


def _workers() -> list[Worker]:
    late = timezone.now() - timedelta(seconds=settings.HEALTH_WORKER_DEGRADED_SECONDS)
    return [Worker(number, beat, running, beat < late) for number, beat, running in _rows(_WORKERS, MOST)]


def _failing() -> tuple[list[FailingJob], int]:
    rows = _rows(_FAILING, MOST)
    jobs = [
        FailingJob(number, task, queue, attempts, status == "failed", error or "", text or "", place or "", at)
        for number, task, queue, attempts, status, error, text, place, at, _ in rows
    ]
    return jobs, rows[0][-1] if rows else 0


def _budgets() -> list[Budget]:
    default = InstitutionAI()
    query = "SELECT institution, course, used_micros, cap_micros FROM ai_answers_fullest_budgets(%s, %s, %s, %s)"
    rows = _rows(
        query, timezone.now().astimezone(UTC).date(), default.daily_cap_micros, default.course_daily_cap_micros, 10
    )
    return [
        Budget(institution, course, round(100 * used / cap) if cap else 100, dollars(used), dollars(cap))
        for institution, course, used, cap in rows
    ]


def _done() -> list[Done]:
    """Return when backups were made and proved. A backup is made each night, and tried out every few months."""
    known = {operation.name: operation for operation in Operation.objects.all()}
    within = {OperationName.RESTORE_DRILL: timedelta(days=100)}
    found = []
    for name in OperationName:
        row, late = known.get(name), timezone.now() - within.get(name, timedelta(hours=26))
        found.append(
            Done(
                name.label,
                row.ended_at if row else None,
                row.succeeded if row else False,
                row.size if row else None,
                row is None or row.ended_at is None or row.ended_at < late or not row.succeeded,
                *((row.places, row.failures, row.failed_at, row.error) if row else ()),
            )
        )
    return found


def _settings() -> dict[str, str]:
    """Return the settings that explain most of what is seen. Of secrets: whether they are there."""

    def given(value: object) -> str:
        return "set" if value else "not set"

    return {
        "QUOKKAQ_MODE": str(settings.MODE),
        "ALLOWED_HOSTS": ", ".join(settings.ALLOWED_HOSTS),
        "BASE_URL": settings.BASE_URL or "not set",
        "HEALTH_NEEDED": ", ".join(sorted(settings.HEALTH_NEEDED)),
        "DATABASE_POOL_SIZE": str((settings.DATABASES["default"]["OPTIONS"]["pool"] or {}).get("max_size", "no pool")),
        "TASK_CONCURRENCY": str(settings.PROCRASTINATE_WORKER_DEFAULTS["concurrency"]),
        "Cache (REDIS_URL)": "Redis" if settings.REDIS_URL else "memory of each process",
        "Files (AWS_STORAGE_BUCKET_NAME)": "bucket" if settings.AWS_STORAGE_BUCKET_NAME else "disk",
        "Backups (BACKUP_BUCKET_NAME)": "bucket" if settings.BACKUP_BUCKET_NAME else "disk of this machine",
        "Second place of backups (BACKUP_SECOND_…)": given("dbbackup-second" in settings.STORAGES),
        "Encrypted backups (BACKUP_GPG_RECIPIENT)": given(settings.DBBACKUP_GPG_RECIPIENT),
        "BACKUP_SCHEDULE": settings.BACKUP_SCHEDULE,
        "Scanner (CLAMD_URL)": given(settings.CLAMD_URL),
        "SCAN_UPLOADS": "yes" if settings.SCAN_UPLOADS else "no",
        "Mail (EMAIL_URL)": given(settings.EMAIL_URL),
        "OPENAI_MODEL": settings.OPENAI_MODEL or "not set",
        "ANTHROPIC_MODEL": settings.ANTHROPIC_MODEL or "not set",
        "EMBEDDING_MODEL": settings.EMBEDDING_MODEL or "the embedded one",
        "METRICS_TOKEN": given(settings.METRICS_TOKEN),
        "TRUSTED_PROXIES": ", ".join(settings.TRUSTED_PROXIES) or "none",
        "SECURE_SSL_REDIRECT": "yes" if settings.SECURE_SSL_REDIRECT else "no",
        "LOG_LEVEL": settings.LOG_LEVEL,
    }


def _bytes(size: int) -> str:
    amount, units = float(size), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "bytes" else f"{amount:.1f} {unit}"
