"""Is QuokkaQ well, and if not, what isn't?"""

from grafana_foundation_sdk.builders import dashboard

from ops.grafana.panels import DATASOURCE, PEOPLE, Panel, board, every, graph, number

RESPONSES = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"
CHOSEN = f'job=~"$job", view=~"$route", {PEOPLE}'
JOB = 'job=~"$job"'
LOOK_UPS, HITS = "quokkaq_cache_operations_total", f'{JOB}, result="hit"'
WINDOW = "[$__rate_interval]"
# A release is marked for five minutes after it appears.
DEPLOYS = "count by (version) (quokkaq_build_info unless on (version) quokkaq_build_info offset 5m)"


def requests(*, by: str = "", only: str = "") -> str:
    labels = ", ".join(filter(None, (CHOSEN, only)))
    return f"sum {by and f'by ({by}) '}(rate({RESPONSES}{{{labels}}}{WINDOW}))"


def errors(by: str = "") -> str:
    """The share of requests that end with a 5xx; 0, not nothing, while none does."""
    every = requests(by=by)
    only = 'status=~"5.."'
    return f"({requests(by=by, only=only)} or 0 * {every}) / {every}"


def quantile(share: float, metric: str, labels: str = JOB, by: str = "") -> str:
    kept = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, sum by ({kept}) (rate({metric}_bucket{{{labels}}}{WINDOW})))"


def quantiles(metric: str, labels: str = JOB) -> dict[str, str]:
    return {f"p{round(100 * share)}": quantile(share, metric, labels) for share in (0.5, 0.95, 0.99)}


def rate(metric: str, by: str = "", labels: str = JOB) -> str:
    return f"sum {by and f'by ({by}) '}(rate({metric}{{{labels}}}{WINDOW}))"


SUMMARY = [
    number(
        "Checks that fail", "Anything above 0 is named under “Dependencies” below.", "short",
        "count(min by (check) (quokkaq_up) == 0) or vector(0)", limits=(1, 1), runbooks=["DependencyDown", "DatabaseDown"],
    ),
    number("Requests", "What people ask for, without probes and scrapes.", "reqps", requests()),
    number(
        "Requests that fail", "The share that ends with a 5xx; 1 % pages somebody.", "percentunit", errors(),
        limits=(0.001, 0.01), runbooks=["HttpErrors"], decimals=2,
    ),
    number(
        "p95", "The slowest 5 % take longer. The objective is 500 ms; above 2 s there is an alert.", "s",
        quantile(0.95, LATENCY, CHOSEN), limits=(0.5, 2), runbooks=["HttpSlow"],
    ),
    number("Sessions", "Sign-ins that haven't ended.", "short", "max(quokkaq_sessions)"),
    number(
        "Release", "Two at once: a deployment is under way, or stopped half-way.", "short",
        "count by (version) (quokkaq_build_info)", legend="{{version}}",
    ),
]  # fmt: skip

REQUESTS = [
    graph(
        "Requests by route", "The ten busiest. One that grows alone: a script, or a page that asks itself.", "reqps",
        {"{{view}}": f"topk(10, {requests(by='view')})"}, width=12,
    ),
    graph(
        "Requests by status", "4xx that grow: links that broke, or somebody who tries. 429 is a limit at work.", "reqps",
        {"{{status}}": requests(by="status")}, width=12, stacked=True,
    ),
    graph(
        "Requests that fail, by route", "The share that ends with a 5xx. One route: a defect. All: a dependency.",
        "percentunit", {"{{view}}": f"topk(10, {errors('view')})"}, limits=(0.001, 0.01), runbooks=["HttpErrors"],
    ),
    graph(
        "How long requests take", "p50 that follows p95 up: everything waits, look at the database and CPU below.", "s",
        quantiles(LATENCY, CHOSEN), limits=(0.5, 2), runbooks=["HttpSlow"],
    ),
    graph(
        "p95 by route", "The ten slowest: where to begin.", "s",
        {"{{view}}": f"topk(10, {quantile(0.95, LATENCY, CHOSEN, 'view')})"}, limits=(0.5, 2), runbooks=["HttpSlow"],
    ),
    graph(
        "Exceptions by route", "Each is in the log with its request id: manage.py logs --status 500.", "cps",
        {"{{view}}": "sum by (view) (rate(django_http_exceptions_total_by_view_total"
         f'{{job=~"$job", view=~"$route"}}{WINDOW}))'}, width=12, runbooks=["HttpErrors"],
    ),
    graph(
        "Requests over a limit", "Answered 429. Many at sign-in: somebody guesses passwords.", "reqps",
        {"{{limit}}": rate("quokkaq_rate_limited_total", "limit")}, width=12, runbooks=["SignInsFailing"],
    ),
]  # fmt: skip

DATABASE = [
    graph(
        "Connections of the pool", "Used near the most, and anybody waiting: too few connections, or slow statements.",
        "short",
        {"{{state}}": f"sum by (state) (quokkaq_db_pool_connections{{{JOB}}})",
         "most": f"sum(quokkaq_db_pool_max{{{JOB}}})", "waiting": f"sum(quokkaq_db_pool_waiting{{{JOB}}})"},
        runbooks=["PoolExhausted"],
    ),
    graph(
        "How long statements take", "Time the database needs. Up with CPU: too much work. Up without: locks or disk.", "s",
        quantiles("quokkaq_db_query_seconds"), limits=(0.1, 0.5), runbooks=["HttpSlow"],
    ),
    graph(
        "Statements", "All, and those over half a second, which the log has.", "ops",
        {"all": rate("quokkaq_db_query_seconds_count"), "slow": rate("quokkaq_db_slow_queries_total")},
        runbooks=["HttpSlow"],
    ),
    graph(
        "Statements that fail", "OperationalError: the server or the way to it. ProgrammingError: a migration is missing.",
        "cps", {"{{error}}": rate("quokkaq_db_errors_total", "error")}, runbooks=["DatabaseDown"],
    ),
    graph(
        "Cache: found", "The share of look-ups that found something. A fall loads the database; errors: Redis is away.",
        "percentunit",
        {"found": f"{rate(LOOK_UPS, labels=HITS)} / {rate(LOOK_UPS)}"}, most=1, runbooks=["DependencyDown"],
    ),
    graph(
        "Cache: look-ups", "Errors count as misses: pages work, slower.", "ops",
        {"{{result}}": rate(LOOK_UPS, "result")}, stacked=True, runbooks=["DependencyDown"],
    ),
    graph("Size of the database", "Compare with the disk below.", "bytes", {"size": "max(quokkaq_db_size_bytes)"}, width=12),
    graph(
        "How far the replica is behind", "What would be lost if the primary ended now. Empty without a replica.", "s",
        {"behind": "max(quokkaq_replica_lag_seconds)"}, width=12, limits=(5, 30), runbooks=["ReplicaLagging"],
    ),
]  # fmt: skip

TASKS = [
    graph(
        "Tasks that wait", "Due and not begun. A line that only rises: no worker, or too few.", "short",
        {"{{queue}}": "max by (queue) (quokkaq_tasks_waiting)"}, stacked=True, runbooks=["QueueOld", "WorkerGone"],
    ),
    graph(
        "Age of the oldest task", "Five minutes raise an alert; of what comes in bulk, half an hour.", "s",
        {"{{queue}}": "max by (queue) (quokkaq_tasks_oldest_seconds)"}, limits=(60, 300), runbooks=["QueueOld"],
    ),
    graph(
        "Since a worker was heard of", "Above a minute nobody works.", "s",
        {"any worker": "min(quokkaq_worker_heartbeat_age_seconds)"}, limits=(30, 60), runbooks=["WorkerGone"],
    ),
    graph(
        "Runs of tasks", "By how they ended; one that is tried again counts each time.", "ops",
        {"{{outcome}}": rate("quokkaq_tasks_total", "outcome")}, runbooks=["TasksFailing"],
    ),
    graph(
        "Tasks given up", "Failed for good and kept for 30 days; the admin lists them with their errors.", "short",
        {"given up": "max(quokkaq_tasks_failing)"}, limits=(1, 10), runbooks=["TasksFailing"],
    ),
    graph(
        "p95 of tasks", "The ten slowest tasks.", "s",
        {"{{task}}": f"topk(10, {quantile(0.95, 'quokkaq_task_seconds', JOB, 'task')})"}, runbooks=["QueueOld"],
    ),
]  # fmt: skip

MACHINE = [
    graph(
        "Memory", "Of the container, or the machine; above 85 % there is an alert.", "percentunit",
        {"{{job}} {{instance}}": f"max by (job, instance) (quokkaq_memory_used_ratio{{{JOB}}})"},
        limits=(0.75, 0.85), most=1, runbooks=["MemoryHigh"],
    ),
    graph(
        "Memory of processes", "A saw-tooth is a restart. A line that only rises is a leak.", "bytes",
        {"{{job}} {{instance}}": f"sum by (job, instance) (quokkaq_process_resident_bytes{{{JOB}}})"}, runbooks=["MemoryHigh"],
    ),
    graph(
        "CPU", "In cores. At the number of cores there are, everything waits.", "short",
        {"{{job}} {{instance}}": rate("quokkaq_process_cpu_seconds_total", "job, instance")}, runbooks=["HttpSlow"],
    ),
    graph(
        "Disks", "A full disk stops the database; above 80 % there is an alert.", "percentunit",
        {"{{place}}": "max by (place) (quokkaq_disk_used_ratio)"}, width=12, limits=(0.7, 0.8), most=1,
        runbooks=["DiskFilling"],
    ),
    graph(
        "Open files", "A line that only rises is a leak; at the limit (ulimit -n) nothing can be opened.", "short",
        {"{{job}} {{instance}}": f"sum by (job, instance) (quokkaq_process_open_files{{{JOB}}})"}, width=12,
    ),
]  # fmt: skip

DEPENDENCIES: list[Panel] = [
    graph(
        "Dependencies", "1 works, 0 doesn't; only what is configured.", "short",
        {"{{check}}": "min by (check) (quokkaq_up)"}, width=12, most=1, runbooks=["DependencyDown", "DatabaseDown"],
    ),
    graph(
        "Processes Prometheus reaches", "1 is reached.", "short",
        {"{{job}} {{instance}}": 'up{job=~"quokkaq-.*"}'}, width=12, most=1, runbooks=["WebDown", "TargetDown"],
    ),
    graph(
        "Age of backups", "A day, and an hour or two.", "s",
        {"{{kind}}": "max by (kind) (quokkaq_backup_age_seconds)"}, limits=(25 * 3600, 26 * 3600), runbooks=["BackupOld"],
    ),
    graph(
        "Size of backups", "One much smaller than the last is not whole.", "bytes",
        {"{{kind}}": "max by (kind) (quokkaq_backup_size_bytes)"}, runbooks=["BackupOld"],
    ),
    number(
        "Since a backup was restored", "100 days raise an alert. Empty: never.", "s", "max(quokkaq_restore_drill_age_seconds)",
        limits=(90 * 86400, 100 * 86400), runbooks=["RestoreDrillOld"],
    ),
    number(
        "Until the certificate ends", "It is renewed in time, or browsers let nobody in.", "s",
        "min(quokkaq_certificate_expires_seconds)", limits=(14 * 86400, 3 * 86400),
        runbooks=["CertificateExpires", "CertificateExpiresSoon"],
    ),
]  # fmt: skip


def build() -> dashboard.Dashboard:
    made = board(
        "quokkaq-operations", "QuokkaQ · Operations",
        "Is QuokkaQ well, and if not, what isn't? From the top: what people notice, then what it may come from.",
        since="now-3h",
        rows={
            "Now": [*SUMMARY], "Requests": [*REQUESTS], "Database and cache": [*DATABASE], "Tasks": [*TASKS],
            "Machine": [*MACHINE], "Dependencies and backups": [*DEPENDENCIES],
        },
    )  # fmt: skip
    made.with_variable(every("job", "Job", 'label_values(up{job=~"quokkaq-.*"}, job)'))
    made.with_variable(every("route", "Route", f"label_values({RESPONSES}{{{PEOPLE}}}, view)"))
    return made.annotation(
        dashboard.AnnotationQuery()
        .name("Deployments")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(DEPLOYS)
    )
