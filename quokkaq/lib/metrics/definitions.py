"""Every metric of QuokkaQ: its name, what it says, its labels and, for a histogram, its buckets (upper bounds, seconds).

Labels are few words, never a person, a course or a text. A value that isn't among a label's words, or one more than
`MOST_SERIES`, is counted as `other`, so that nothing anybody sends can make series without end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

# When a series began is of no use to us, and doubles their number.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

MOST_SERIES = 5000
OTHER = "other"
# The words a label may be, or a sentence on what bounds it.
Label = tuple[str, ...] | str


@dataclass(frozen=True, eq=False)
class Definition:
    """A metric as Prometheus sees it. `name` is what queries call it; a histogram's has `_bucket`, `_sum`, `_count` behind it."""

    name: str
    kind: str
    help: str
    labels: dict[str, Label]


ALL: list[Definition] = []


class Series:
    """The series of a metric, by the values of their labels."""

    def __init__(self, metric: Any, definition: Definition) -> None:
        self.metric = metric
        self.definition = definition
        self._children: dict[tuple[str, ...], Any] = {} if definition.labels else {(): metric}
        ALL.append(definition)
        words = [label for label in definition.labels.values() if not isinstance(label, str)]
        if len(words) == len(definition.labels):
            # They begin at 0: what happens for the first time is an increase, too.
            for labels in product(*words):
                self.of(*labels)

    def of(self, *labels: str) -> Any:
        """Return the series with these labels."""
        return self._children.get(labels) or self._bounded(labels)

    def _bounded(self, labels: tuple[str, ...]) -> Any:
        known = zip(self.definition.labels.values(), labels, strict=True)
        kept = tuple(str(value) if isinstance(words, str) or value in words else OTHER for words, value in known)
        if kept not in self._children and len(self._children) >= MOST_SERIES:
            kept = (OTHER,) * len(kept)
        if kept not in self._children:
            self._children[kept] = self.metric.labels(*kept)
        return self._children[kept]


class CounterSeries(Series):
    def inc(self, *labels: str, by: float = 1) -> None:
        self.of(*labels).inc(by)


class HistogramSeries(Series):
    def observe(self, seconds: float, *labels: str) -> None:
        self.of(*labels).observe(seconds)


class GaugeSeries(Series):
    def set(self, value: float, *labels: str) -> None:
        self.of(*labels).set(value)


def _counter(name: str, help: str, **labels: Label) -> CounterSeries:
    return CounterSeries(Counter(name, help, list(labels)), Definition(name, "counter", help, labels))


def _histogram(name: str, help: str, buckets: Sequence[float], **labels: Label) -> HistogramSeries:
    metric = Histogram(name, help, list(labels), buckets=buckets)
    return HistogramSeries(metric, Definition(name, "histogram", help, labels))


def _gauge(name: str, help: str, **labels: Label) -> GaugeSeries:
    """A gauge that each process sets for itself; what is shown is the sum over those that live."""
    metric = Gauge(name, help, list(labels), multiprocess_mode="livesum")
    return GaugeSeries(metric, Definition(name, "gauge", help, labels))


def _state(name: str, help: str, **labels: Label) -> Definition:
    """A gauge that is computed when somebody asks (`quokkaq.lib.metrics.state`)."""
    definition = Definition(name, "gauge", help, labels)
    ALL.append(definition)
    return definition


# Requests. The names are django-prometheus's, which dashboards know.

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10)
_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
_VIEW = "the route's name"

RESPONSES = _counter(
    "django_http_responses_total_by_status_view_method_total", "Responses.",
    status="the HTTP status", view=_VIEW, method=_METHODS,
)  # fmt: skip
REQUEST_SECONDS = _histogram(
    "django_http_requests_latency_seconds_by_view_method", "How long requests took, middleware included.",
    _REQUEST_BUCKETS, view=_VIEW, method=_METHODS,
)  # fmt: skip
REQUESTS = _counter(
    "django_http_requests_total_by_view_transport_method_total", "Requests.",
    view=_VIEW, transport=("http", "https"), method=_METHODS,
)  # fmt: skip
EXCEPTIONS = _counter("django_http_exceptions_total_by_view_total", "Exceptions that a view let through.", view=_VIEW)

# Database and cache

QUERY_SECONDS = _histogram(
    "quokkaq_db_query_seconds", "How long the database took to answer statements.",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)  # fmt: skip
SLOW_QUERIES = _counter("quokkaq_db_slow_queries_total", "Statements that took longer than half a second.")
QUERY_ERRORS = _counter(
    "quokkaq_db_errors_total", "Statements that were refused, and connections that couldn't be had.",
    error="psycopg's name of the error, or Django's",
)  # fmt: skip
CACHE_OPERATIONS = _counter(
    "quokkaq_cache_operations_total", "Keys that were looked for in the cache, and operations that failed.",
    result=("hit", "miss", "error"),
)  # fmt: skip
POOL_CONNECTIONS = _gauge(
    "quokkaq_db_pool_connections", "Connections of the pools of all processes.", state=("used", "idle")
)
POOL_WAITING = _gauge("quokkaq_db_pool_waiting", "Threads that wait for a connection.")
POOL_MAX = _gauge("quokkaq_db_pool_max", "How many connections the pools may have.")

# Processes

RESIDENT_BYTES = _gauge("quokkaq_process_resident_bytes", "Memory of all processes, in bytes.")
OPEN_FILES = _gauge("quokkaq_process_open_files", "Open files of all processes.")
CPU_SECONDS = _counter("quokkaq_process_cpu_seconds_total", "Seconds of CPU that all processes used.")

# Tasks

TASKS = _counter(
    "quokkaq_tasks_total", "Runs of tasks; one that is tried again counts each time.",
    task="the task's name", outcome=("succeeded", "failed"),
)  # fmt: skip
TASK_SECONDS = _histogram(
    "quokkaq_task_seconds", "How long runs of tasks took.",
    (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600), task="the task's name",
)  # fmt: skip
TASKS_WAITING = _state("quokkaq_tasks_waiting", "Jobs that are due and wait.", queue="the queue's name")
TASKS_OLDEST = _state(
    "quokkaq_tasks_oldest_seconds", "How long the oldest job that is due has waited; 0 when none does.",
    queue="the queue's name",
)  # fmt: skip
TASKS_FAILING = _state("quokkaq_tasks_failing", "Jobs that were given up; they are kept for 30 days.")
WORKER_HEARTBEAT = _state(
    "quokkaq_worker_heartbeat_age_seconds", "Since any worker was last heard of; +Inf when none is registered."
)

# What people do

THREADS_CREATED = _counter(
    "quokkaq_threads_created_total", "Threads that were started.", kind=("question", "discussion", "announcement")
)
POSTS_CREATED = _counter("quokkaq_posts_created_total", "Replies and comments.")
VOTES = _counter("quokkaq_votes_total", "Votes that were given; those taken back aren't subtracted.")
ENDORSEMENTS = _counter("quokkaq_endorsements_total", "Endorsements by staff, of replies and of AI answers.")
SIGN_INS = _counter(
    "quokkaq_sign_ins_total", "People who signed in, and tries that failed; a wrong second factor is one.",
    method=("password", "passkey", "oidc", "saml", "lti"), outcome=("succeeded", "failed"),
)  # fmt: skip
SIGN_UPS = _counter("quokkaq_sign_ups_total", "Accounts that were made.")
MAILS = _counter(
    "quokkaq_mails_total", "Mails the mail server took or refused; one that is tried again counts each time.",
    outcome=("sent", "failed"),
)  # fmt: skip
UPLOADS = _counter("quokkaq_uploads_total", "Files, by what became of them.", outcome=("clean", "rejected", "expired"))
RATE_LIMITED = _counter(
    "quokkaq_rate_limited_total", "Requests answered 429, by the limit they ran into.",
    limit=("reads", "writes", "background", "uploads", "sign-in"),
)  # fmt: skip
ACTIVE_USERS = _state(
    "quokkaq_active_users", "People whose sessions were in use within a day, and within a week.", window=("day", "week")
)
SESSIONS = _state("quokkaq_sessions", "Sessions that haven't ended.")
THREADS = _state("quokkaq_threads", "Threads; above 20,000 PostgreSQL's estimate, which counts deleted ones.")
THREADS_UNANSWERED = _state("quokkaq_threads_unanswered", "Questions nobody has answered; counted up to 200,000.")

# The machine's part

_ENGINE = ("extractive", "openai", "anthropic", "embedding")

AI_ANSWERS = _counter(
    "quokkaq_ai_answers_total", "What engines came to for a question, and answers that were withdrawn later.",
    outcome=("published", "draft", "abstained", "failed", "withdrawn"), confidence=("high", "medium", "low", "none"),
)  # fmt: skip
MODEL_CALLS = _counter(
    "quokkaq_model_calls_total", "Calls of an engine, by how they ended.",
    engine=_ENGINE, outcome=("answered", "abstained", "refused", "stopped", "error"),
)  # fmt: skip
MODEL_SECONDS = _histogram(
    "quokkaq_model_seconds", "How long calls of an engine took.", (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60),
    engine=_ENGINE,
)  # fmt: skip
MODEL_TOKENS = _counter(
    "quokkaq_model_tokens_total", "Tokens, as providers count them.", engine=_ENGINE, direction=("input", "output")
)
MODEL_COST = _counter("quokkaq_model_cost_dollars_total", "What engines cost, in US dollars.", engine=_ENGINE)
BUDGET_USED = _state(
    "quokkaq_budget_used_ratio", "The largest part of a day's cap that any course, or institution, has used up.",
    scope=("course", "institution"),
)  # fmt: skip

# The installation

UP = _state(
    "quokkaq_up", "1 for what works, 0 for what doesn't; only for what is configured.",
    check="database, migrations, cache, storage, queue, scanner, engine, disk or memory",
)  # fmt: skip
DISK_USED = _state(
    "quokkaq_disk_used_ratio", "How full the file system is that a place lies on.",
    place=("media", "backups", "system"),
)  # fmt: skip
MEMORY_USED = _state("quokkaq_memory_used_ratio", "How much memory is used of what the container, or machine, has.")
BACKUP_AGE = _state("quokkaq_backup_age_seconds", "Since the last backup that succeeded.", kind=("database", "media"))
BACKUP_SIZE = _state("quokkaq_backup_size_bytes", "How large that was.", kind=("database", "media"))
BACKUP_FAILED = _state(
    "quokkaq_backup_failed",
    "1 when the last try to make one failed, or to bring it to the second place, else 0.",
    kind=("database", "media"),
)
DRILL_AGE = _state("quokkaq_restore_drill_age_seconds", "Since the last restore drill ended.")
DRILL_SUCCEEDED = _state("quokkaq_restore_drill_succeeded", "1 when that succeeded, else 0.")
REPLICA_LAG = _state("quokkaq_replica_lag_seconds", "How far the slowest replica is behind; only where there is one.")
DATABASE_SIZE = _state("quokkaq_db_size_bytes", "The size of the database.")
CERTIFICATE = _state(
    "quokkaq_certificate_expires_seconds", "Until the TLS certificate of BASE_URL expires; below 0 it has."
)
BUILD = _state("quokkaq_build_info", "Always 1.", version="the release")
