"""A live installation of QuokkaQ on this machine, and the Prometheus and Alertmanager that watch it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import yaml
from django.conf import settings

from quokkaq.lib.postgres import EmbeddedPostgres
from tests.conftest import needed
from tests.factories import PASSWORD
from tests.processes import ROOT, free_port, wait_for
from tests.services.mail_servers import MailServer

TOKEN = "a-metrics-token-for-this-test"
PAGE_TOKEN, HEARTBEAT_TOKEN = "token-of-the-pager", "token-of-the-heartbeat"
PROMETHEUS, ALERTMANAGER = ROOT / "ops/prometheus", ROOT / "ops/alertmanager"
# How much shorter `for` and the windows above a minute are in a drill. Expressions and thresholds stay.
SHORTER = 12
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> float:
    """Return a Prometheus duration like `1h30m` in seconds."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def shorter(duration: str) -> str:
    return f"{max(1, round(seconds(duration) / SHORTER))}s"


def shortened(rules: dict[str, Any]) -> dict[str, Any]:
    """Return rules with `for`, `keep_firing_for` and windows above a minute made shorter; all else as it is."""

    def window(found: re.Match[str]) -> str:
        return found[0] if seconds(found[1]) <= 60 else f"[{shorter(found[1])}]"

    groups = []
    for group in rules["groups"]:
        changed = [
            {
                **rule,
                "expr": re.sub(r"\[(\d+[smhd])\]", window, rule["expr"]),
                **{key: shorter(rule[key]) for key in ("for", "keep_firing_for") if key in rule},
            }
            for rule in group["rules"]
        ]
        groups.append({"name": group["name"], "rules": changed})
    return {"groups": groups}


def shipped_rules() -> dict[str, dict[str, Any]]:
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(PROMETHEUS.glob("rules/*.yml"))}


def shipped_alerts() -> dict[str, dict[str, Any]]:
    groups = [group for rules in shipped_rules().values() for group in rules["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


class Installation:
    """QuokkaQ with a PostgreSQL, a web server and a worker of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres", durable=False)
        self.port, self.worker_port = free_port(), free_port()
        self.media, self.backups = folder / "media", folder / "backups"
        self.web: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COV_", "COVERAGE", "PYTEST", "DJANGO", "AWS_", "PROMETHEUS"))
        }
        return {
            **kept,
            # The server's own pg_dump: another version's refuses.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(self.postgres.bin), os.environ["PATH"]]),
            "QUOKKAQ_MODE": "demo",
            "DATABASE_URL": self.postgres.url(user="quokkaq_web"),
            "OWNER_DATABASE_URL": self.postgres.url(),
            "MEDIA_ROOT": str(self.media),
            "BACKUP_ROOT": str(self.backups),
            "PG_DUMP": str(self.postgres.bin / "pg_dump"),
            "METRICS_TOKEN": TOKEN,
            "PORT": str(self.port),
            "WORKER_METRICS_PORT": str(self.worker_port),
            "LOG_PRETTY": "no",
            "WEB_WORKERS": "2",
            "RATE_READS_PER_MINUTE": "0",
            "RATE_WRITES_PER_MINUTE": "0",
            # Else the sixth failed try is answered 429.
            "SIGN_IN_FAILURES_PER_ACCOUNT": "100",
            "SIGN_IN_FAILURES_PER_ADDRESS": "100",
        }

    def start(self, original: str) -> None:
        """Start everything on a copy of the database that `original` is the URL of: migrating one takes long."""
        for folder in (self.media, self.backups):
            folder.mkdir()
        self.postgres.ensure_running()
        self.sql(f"CREATE ROLE {settings.DATABASE_WEB_ROLE} LOGIN")
        dump = str(self.postgres.home / "original.sql")
        self.postgres._run("pg_dump", "--no-owner", "--file", dump, original)
        self._psql("--quiet", "--file", dump)
        self.start_web()
        self.start_worker()

    def stop(self) -> None:
        for process in (self.web, self.worker):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.postgres._release(os.getpid())

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1000:]} {done.stderr[-3000:]}"
        return done.stdout

    def start_web(self) -> None:
        command = [sys.executable, "-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"]
        self.web = self._start(command, "web")
        wait_for(self._answers, seconds=60, what="the web server")

    def start_worker(self) -> None:
        self.worker = self._start([sys.executable, "manage.py", "procrastinate", "worker"], "worker")

    def _start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """End a process with all its children at once, as the kernel does when memory is short."""
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _answers(self) -> bool:
        try:
            return self.get("/health")[0] == 200
        except (OSError, HTTPException):
            return False

    def get(self, path: str, cookie: str = "", form: dict[str, str] | None = None) -> tuple[int, SimpleCookie]:
        """Return status and cookies of a page, or of a form that is sent."""
        client = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            headers = {"Cookie": cookie} if cookie else {}
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            client.request("GET" if form is None else "POST", path, urlencode(form) if form else None, headers)
            response = client.getresponse()
            response.read()
            cookies = SimpleCookie()
            for name, value in response.getheaders():
                if name.lower() == "set-cookie":
                    cookies.load(value)
            return response.status, cookies
        finally:
            client.close()

    def sign_in(self, email: str, password: str = PASSWORD) -> tuple[int, str]:
        """Return the status of the answer, and the cookies to go on with."""
        _, cookies = self.get("/sign-in/")
        token = cookies["csrftoken"].value
        form = {"email": email, "login": email, "password": password, "csrfmiddlewaretoken": token}
        status, more = self.get("/sign-in/", f"csrftoken={token}", form)
        return status, "; ".join(f"{name}={morsel.value}" for name, morsel in {**cookies, **more}.items())

    def sql(self, statement: str) -> str:
        return self._psql("--command", statement)

    def _psql(self, *arguments: str) -> str:
        address = ("-h", str(self.postgres.socket_directory), "-U", "postgres", "-d", "quokkaq")
        return self.postgres._run("psql", *address, "-At", "-v", "ON_ERROR_STOP=1", *arguments).stdout.strip()

    def stop_database(self) -> None:
        self.postgres._run("pg_ctl", "stop", "-D", str(self.postgres.data), "-m", "immediate", "-w", "-s")

    def start_database(self) -> None:
        self.postgres._start()


class Traffic:
    """Somebody who looks at a page again and again."""

    def __init__(self, installation: Installation, path: str, cookie: str, pause: float = 0.25) -> None:
        self.installation, self.path, self.cookie, self.pause = installation, path, cookie, pause
        self.statuses: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(25)

    def _run(self) -> None:
        while not self._over.wait(self.pause):
            try:
                self.statuses.append(self.installation.get(self.path, self.cookie)[0])
            except (OSError, HTTPException):
                self.statuses.append(0)


class Receiver:
    """Takes what Alertmanager sends to the pager, the chat and the heartbeat: (path, authorization, body)."""

    def __init__(self) -> None:
        self.got: list[tuple[float, str, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.got.append((time.monotonic(), self.path, self.headers.get("Authorization", ""), body))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def when(self, path: str, alert: str, *, resolved: bool = False, since: float = 0) -> float | None:
        """Return when the place behind `path` first heard that an alert fires, or is over."""
        for at, where, _, body in list(self.got):
            if where == path and at >= since and (alert, resolved) in told(path, body):
                return at
        return None


def told(path: str, body: str) -> Iterable[tuple[str, bool]]:
    """Yield the alerts a message names, and for each whether it says that it is over."""
    message = json.loads(body)
    if path == "/chat":
        for attachment in message["attachments"]:
            title = attachment["title"]
            yield title.removeprefix("Over: "), title.startswith("Over: ")
        return
    for alert in message["alerts"]:
        yield alert["labels"]["alertname"], alert["status"] == "resolved"


class Monitoring:
    """Debian's Prometheus and Alertmanager with the shipped files, at the addresses of this machine."""

    def __init__(self, folder: Path, installation: Installation, *, drill: bool) -> None:
        self.folder, self.installation = folder, installation
        self.prometheus, self.alertmanager = needed("prometheus"), needed("prometheus-alertmanager")
        needed("promtool")
        self.port, self.alert_port = free_port(), free_port()
        self.receiver = Receiver()
        self.mail = MailServer()
        self.drill = drill
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        rules = self.folder / "rules"
        rules.mkdir()
        for name, shipped in shipped_rules().items():
            text = yaml.safe_dump(shortened(shipped) if self.drill else shipped, sort_keys=False)
            (rules / name).write_text(text)
        for name, secret in {
            "metrics_token": TOKEN, "alert_page_token": PAGE_TOKEN, "alert_heartbeat_token": HEARTBEAT_TOKEN,
            "alert_chat_url": f"http://127.0.0.1:{self.receiver.port}/chat", "alert_mail_password": "unused",
        }.items():  # fmt: skip
            (self.folder / name).write_text(secret)
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(self.prometheus_config()))
        (self.folder / "alertmanager.yml").write_text(yaml.safe_dump(self.alertmanager_config()))
        self.mail.__enter__()
        self._start(
            self.alertmanager, f"--config.file={self.folder}/alertmanager.yml", f"--storage.path={self.folder}/am",
            f"--web.listen-address=127.0.0.1:{self.alert_port}", "--cluster.listen-address=",
        )  # fmt: skip
        wait_for(lambda: listens(self.alert_port), seconds=30, what="Alertmanager")
        self._start(
            self.prometheus, f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}",
            # It looks for Alertmanager for five seconds; what fires before that is sent again after a minute only.
            "--rules.alert.resend-delay=2s",
        )  # fmt: skip
        wait_for(lambda: self.query("vector(1)"), seconds=30, what="Prometheus")

    def _start(self, *command: str) -> None:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        self.receiver.close()
        if self.processes:
            self.mail.__exit__(None, None, None)

    def local(self, text: str) -> str:
        return text.replace("/run/secrets/", f"{self.folder}/").replace("/etc/prometheus/", f"{self.folder}/")

    def prometheus_config(self) -> dict[str, Any]:
        """Return the shipped configuration with this machine's addresses, and a short way from fault to alert."""
        config: dict[str, Any] = yaml.safe_load(self.local((PROMETHEUS / "prometheus.yml").read_text()))
        config["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{self.alert_port}"]
        for job, port in zip(
            config["scrape_configs"], (self.installation.port, self.installation.worker_port), strict=True
        ):
            job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        return config

    def alertmanager_config(self) -> dict[str, Any]:
        """Return the shipped configuration that sends to this test, and sooner."""
        config: dict[str, Any] = yaml.safe_load(self.local((ALERTMANAGER / "alertmanager.yml").read_text()))
        mail = config["global"]
        mail |= {"smtp_smarthost": f"127.0.0.1:{self.mail.port}", "smtp_require_tls": False}
        del mail["smtp_auth_username"], mail["smtp_auth_password_file"]
        for receiver in config["receivers"]:
            for webhook in receiver.get("webhook_configs", []):
                webhook["url"] = f"http://127.0.0.1:{self.receiver.port}/{receiver['name']}"
        for route in (config["route"], *config["route"]["routes"]):
            for key in ("group_wait", "group_interval"):
                if key in route:
                    route[key] = "1s"
        return config

    def query(self, expression: str) -> list[dict[str, Any]]:
        client = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            client.request("GET", f"/api/v1/query?{urlencode({'query': expression})}")
            answer = json.loads(client.getresponse().read())
        except (OSError, HTTPException, ValueError):
            return []
        finally:
            client.close()
        found: list[dict[str, Any]] = answer.get("data", {}).get("result", [])
        return found


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def full_disk(place: Path, *, used: float) -> Iterator[None]:
    """Put a small file system in a place, and fill it; needs root."""
    size = 8 * 1024 * 1024
    subprocess.run([shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        (place / "large").write_bytes(b"\0" * int(size * used))
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", place], check=True)
