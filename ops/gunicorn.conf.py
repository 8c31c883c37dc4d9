"""How gunicorn serves QuokkaQ: `gunicorn -c ops/gunicorn.conf.py quokkaq.wsgi`. Variables: see `.env.example`."""

import gc
import os
import queue
import signal
import stat
import sys
import tempfile
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BASE_DIR))

from quokkaq.env import Environment  # noqa: E402 (found through the line above)
from quokkaq.lib.health import draining  # noqa: E402
from quokkaq.lib.logs import catch_strays, logging_config  # noqa: E402

env = Environment(BASE_DIR)

chdir = str(BASE_DIR)
bind = f"{env.text('HOST', '127.0.0.1')}:{env.number('PORT', 8000, least=1)}"
workers = env.number("WEB_WORKERS", 2, least=1)
threads = env.number("WEB_THREADS", 4, least=1)
worker_class = "gthread"
# No preload: a database pool opened before the fork would hang in the workers.
preload_app = False
timeout = 30
graceful_timeout = 30
# Longer than a proxy or balancer keeps a connection that nobody uses (nginx and Amazon's: 60): who closes it must be the one
# who sends, else a request meets a connection that is just being closed. It costs no thread.
keepalive = 75
# For so long a server that is to stop goes on taking connections, while `/api/v1/ready` tells its balancer to send no more.
drain_seconds = env.number("WEB_DRAIN_SECONDS", 5 if env.production else 0)
max_requests = 10000
# Wide, so that not all workers end at once.
max_requests_jitter = 5000
# A disk that stalls must not look like a worker that hangs.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 (private files, made by gunicorn)  # nosec B108
control_socket_disable = True
forwarded_allow_ips = env.text("FORWARDED_ALLOW_IPS", "127.0.0.1")
limit_request_line = 4094
limit_request_fields = 60
limit_request_field_size = 8190

# `quokkaq.lib.logs.AccessLogMiddleware` writes the access line, with user, route and request id.
accesslog = None
logconfig_dict = logging_config(
    level=env.text("LOG_LEVEL", "INFO").upper(),
    pretty=env.yes("LOG_PRETTY", default=not env.production and sys.stdout.isatty()),
    directory=env.text("LOG_DIRECTORY"),
)

# What nothing catches, and warnings of Python, become log lines, too.
catch_strays()

# Where the workers add up what they count: in memory, one folder for each user and port.
metrics_directory = Path(
    env.text("PROMETHEUS_MULTIPROC_DIR")
    or f"{worker_tmp_dir or tempfile.gettempdir()}/quokkaq-metrics-{os.getuid()}-{env.number('PORT', 8000, least=1)}"
)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_directory)
env.complain()
metrics_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
_found = metrics_directory.lstat()
if not stat.S_ISDIR(_found.st_mode) or _found.st_uid != os.getuid():
    raise SystemExit(f"{metrics_directory} isn't ours. Set PROMETHEUS_MULTIPROC_DIR to a folder that is.")


def on_starting(server: Any) -> None:
    """Forget the numbers of the last run: Prometheus expects counters of a new process to begin at zero."""
    for file in metrics_directory.glob("*.db"):
        file.unlink()


def when_ready(server: Any) -> None:
    """Have the server leave its balancer before it stops: gunicorn closes its socket at once, whoever stands in the queue."""
    stop = server.stop

    def stop_drained(graceful: bool = True) -> None:
        if graceful and drain_seconds:
            draining.begin()
            until = time.monotonic() + drain_seconds
            while (left := until - time.monotonic()) > 0:
                with suppress(queue.Empty):
                    if server.SIG_QUEUE.get(timeout=left) in (signal.SIGINT, signal.SIGQUIT):
                        break
        stop(graceful)

    server.stop = stop_drained


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest number that no living worker has."""
    taken = {sibling.slot for sibling in server.WORKERS.values()}
    worker.slot = next(number for number in count(1) if number not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Name the worker's metric files by its number instead of its process id.

    A successor goes on in the files of the worker it replaces. By process id, each of the workers that `max_requests`
    retires would leave its files behind, and `/metrics` would have to read all of them.
    """
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: worker.slot)  # type: ignore[no-untyped-call]


def post_worker_init(worker: Any) -> None:
    """Leave what was loaded out of garbage collection, and collect less often: a page makes thousands of objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def child_exit(server: Any, worker: Any) -> None:
    """Drop the gauges of a worker that ended; its counters stay."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.slot, path=str(metrics_directory))  # type: ignore[no-untyped-call]
