"""`manage.py run_demo`: everything the demo needs, in one terminal: database, migrations, content, web, tasks."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from quokkaq.context import DEMO_PASSWORD

START_SECONDS = 30
STOP_SECONDS = 10
PEOPLE = {
    "sam": "student of CS 101",
    "noor": "student of CS 101 and MATH 221",
    "tim": "teaching assistant of CS 101, student of MATH 221",
    "ada": "instructor of CS 101, may open Django admin",
    "eve": "student at another institution",
}
WORKER = (sys.executable, "manage.py", "procrastinate", "worker")


class Command(BaseCommand):
    help = "Run the demo: migrate, seed once, then web server and task worker until Ctrl-C. PORT and DATABASE_URL are honoured."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError(
                "run_demo is for trying QuokkaQ out. In production use the services of docs/operating.md."
            )
        port = _free_port()
        where = "the PostgreSQL of DATABASE_URL"
        if settings.EMBEDDED_POSTGRES is not None:
            where = f"the embedded PostgreSQL in {settings.EMBEDDED_POSTGRES.home}"
        self._say(f"Database: {where}")
        self._say("Migrations …")
        call_command("migrate", verbosity=0)
        self._say("Demo content …")
        call_command("seed_demo", stdout=self.stdout)
        connections.close_all()
        self._say("Starting web server and task worker …")
        _Supervisor(self._say, port).run()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


class _Supervisor:
    """Keeps the processes running until told to stop."""

    def __init__(self, say: Any, port: int) -> None:
        self.say = say
        self.port = port
        environment = {
            "LOG_LEVEL": "WARNING",
            **os.environ,
            "PORT": str(port),
            "WEB_WORKERS": os.environ.get("WEB_WORKERS", "1"),
        }
        self.commands: Mapping[str, list[str]] = {
            "web server": [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"],
            "task worker": ["env", "TASK_LANES=answers,prompt", *WORKER],
            # A process of its own: in that of the answers, ten thousand mails would make them slow.
            "worker for bulk": ["env", "TASK_LANES=bulk", *WORKER],
        }
        self.environment = environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            for name in self.commands:
                self._start(name)
            self._wait_until_up()
            while not self.stopping:
                time.sleep(0.3)
                self._restart_ended()
        finally:
            self._end_all()
        self.say("Stopped.")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _start(self, name: str) -> None:
        # A session of its own: Ctrl-C reaches this process, which then stops the others in order.
        self.processes[name] = subprocess.Popen(
            self.commands[name], cwd=Path(settings.BASE_DIR), env=self.environment, start_new_session=True
        )

    def _restart_ended(self) -> None:
        for name, process in list(self.processes.items()):
            if process.poll() is not None and not self.stopping:
                self.say(f"The {name} ended (code {process.returncode}). Starting it again …")
                time.sleep(1)
                self._start(name)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.stopping:
            if self.processes["web server"].poll() is not None:
                raise CommandError("The web server ended right after its start; its own message is above.")
            try:
                # rule: outgoing-http (its own web server)
                with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):  # nosec B310
                    break
            except (URLError, OSError):
                if time.monotonic() > deadline:
                    raise CommandError(f"The web server didn't answer within {START_SECONDS} seconds.") from None
                time.sleep(0.1)
        if not self.stopping:
            self.say(f"\n  QuokkaQ is running:  http://localhost:{self.port}/\n")
            self.say(f"  Sign in as (password {DEMO_PASSWORD}):")
            for person, what in PEOPLE.items():
                self.say(f"    {person + '@example.edu':20} {what}")
            self.say("\n  Stop with Ctrl-C.\n")

    def _end_all(self) -> None:
        self.say("\nStopping …")
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    raw = os.environ.get("PORT", "8000")
    if not raw.isdigit() or not 0 < int(raw) < 65536:
        raise CommandError(f"PORT is {raw!r}. Set it to a number between 1 and 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(raw)))
        except OSError as error:
            raise CommandError(
                f"Port {raw} can't be used ({error.strerror}). Choose another: PORT=8001 make run"
            ) from None
    return int(raw)
