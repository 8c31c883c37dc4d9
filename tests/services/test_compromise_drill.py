"""Somebody has every secret. One command replaces them: nothing of the thief's works any more, nothing of people's is lost.

A whole installation: a database that asks for passwords, Redis, S3 with IAM, a mail server and a model that know who may
use them, gunicorn and a worker with all secrets in files. What the thief holds is tried before (it works) and after.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import redis
import requests
from allauth.account.app_settings import PASSWORD_RESET_TOKEN_GENERATOR
from allauth.account.models import EmailAddress, EmailConfirmationHMAC
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.conf import settings
from django.db import connection
from django.test import Client, override_settings
from pytest_django.plugin import DjangoDbBlocker

from accounts import actions as account_actions
from accounts.actions.invitations import link_of
from accounts.actions.lti import current_lti_key
from accounts.lti import keys as lti_keys
from accounts.models import AuditEvent, IdentityProvider, Invitation, LtiKey, User
from accounts.views.privacy import ticket_for
from forum.actions import mailing
from quokkaq.lib import sealing, tenancy
from quokkaq.rotation.vault import credentials, password_of
from tests import factories
from tests.clusters import Cluster, cluster
from tests.processes import ROOT, free_port
from tests.recovery import measured
from tests.services import s3_server
from tests.services.mail_servers import MailServer
from tests.services.s3_server import S3Server

pytestmark = [pytest.mark.drill, pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("compromise")]
TARGET_SECONDS = 300
FILES = {
    "SECRET_KEY": "secret_key", "DATABASE_URL": "database_url", "OWNER_DATABASE_URL": "owner_database_url",
    "REDIS_URL": "redis_url", "METRICS_TOKEN": "metrics_token", "INBOUND_MAIL_SECRET": "inbound_mail_secret",
    "EMAIL_URL": "email_url", "OPENAI_API_KEY": "openai_api_key",
}  # fmt: skip

# Ends what runs and starts it anew, as a supervisor would; ends itself once pages are served.
RESTART = """
import json, os, signal, subprocess, sys, time, urllib.request
home, port = sys.argv[1:]
pids = home + "/pids.json"
old = json.load(open(pids)) if os.path.exists(pids) else []
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
for pid in old:
    if alive(pid):
        os.kill(pid, signal.SIGTERM)
end = time.monotonic() + 15
while any(map(alive, old)):
    if time.monotonic() > end:
        [os.kill(pid, signal.SIGKILL) for pid in old if alive(pid)]
    time.sleep(0.05)
log = open(home + "/log", "ab")
commands = [
    ["-m", "gunicorn", "-c", "ops/gunicorn.conf.py", "quokkaq.wsgi"],
    ["manage.py", "procrastinate", "worker", "--fetch-job-polling-interval", "0.2"],
]
started = [subprocess.Popen([sys.executable, *c], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True).pid for c in commands]
json.dump(started, open(pids, "w"))
end = time.monotonic() + 90
while time.monotonic() < end:
    try:
        if urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/ready", timeout=3).status == 200:
            sys.exit(0)
    except OSError:
        time.sleep(0.1)
sys.exit("not ready")
"""
# Runs the command and dies by SIGKILL at once after one of its own functions has done its work, so many times.
DYING = """
import os, signal, sys
import django
django.setup()
from importlib import import_module
from django.core.management import call_command
path, times, *arguments = sys.argv[1:]
module, _, name = path.rpartition(":")
holder = import_module(module)
*parents, last = name.split(".")
for parent in parents:
    holder = getattr(holder, parent)
real, left = getattr(holder, last), int(times)
def deadly(*args, **options):
    global left
    found = real(*args, **options)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
setattr(holder, last, deadly)
from quokkaq.rotation import steps
steps.STEPS = tuple((step, deadly if work is real else work) for step, work in steps.STEPS)
call_command("rotate_secrets", *arguments)
"""


class Models(ThreadingHTTPServer):
    """A provider of models that knows which keys it gave out."""

    daemon_threads = True

    def __init__(self) -> None:
        self.keys: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                known = self.headers.get("Authorization", "").removeprefix("Bearer ") in outer.keys
                body = b'{"data": []}'
                self.send_response(200 if known and self.path == "/v1/models" else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@dataclass
class Site:
    """The installation, and the keys to it."""

    home: Path
    server: Cluster
    redis_port: int
    bucket: S3Server
    iam_url: str
    mail: MailServer
    models: Models
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> Path:
        return self.home / "secrets"

    def read(self, name: str) -> str:
        return (self.secrets / FILES[name]).read_text().strip()

    @property
    def key_pair(self) -> tuple[str, str]:
        text = (self.secrets / "aws_credentials").read_text()
        found = [re.search(rf"{name} = (\S+)", text) for name in ("aws_access_key_id", "aws_secret_access_key")]
        assert all(found)
        return found[0][1], found[1][1]  # type: ignore[index]

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept, **{f"{name}_FILE": str(self.secrets / file) for name, file in FILES.items()},
            "QUOKKAQ_MODE": "demo", "PORT": str(self.port), "WEB_WORKERS": "1", "LOG_LEVEL": "ERROR", "LOG_PRETTY": "no",
            "DJANGO_SETTINGS_MODULE": "quokkaq.settings", "AWS_SHARED_CREDENTIALS_FILE": str(self.secrets / "aws_credentials"),
            "AWS_ENDPOINT_URL_IAM": self.iam_url, "AWS_STORAGE_BUCKET_NAME": self.bucket.bucket,
            "AWS_S3_ENDPOINT_URL": self.bucket.endpoint, "AWS_S3_REGION_NAME": self.bucket.region, "SCAN_UPLOADS": "no", "RATE_READS_PER_MINUTE": "0", "RATE_WRITES_PER_MINUTE": "0",
            "OPENAI_BASE_URL": self.models.url, "OPENAI_MODEL": "m", "BASE_URL": self.url, "PYTHONPATH": str(ROOT),
            "DEFAULT_FROM_EMAIL": "noreply@quokkaq.example", "REPLY_DOMAIN": "reply.quokkaq.example", "MAIL_BURST_SECONDS": "0",
            "HEALTH_NEEDED": "database,cache,storage", "PROMETHEUS_MULTIPROC_DIR": str(self.home / "metrics"),
        }  # fmt: skip

    @property
    def restart(self) -> str:
        return f"{sys.executable} {self.home}/restart.py {self.home} {self.port}"

    def rotate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("manage.py", "rotate_secrets", *arguments)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=self.environment(), capture_output=True, text=True, check=False,
            timeout=150,
        )  # fmt: skip

    def end(self) -> None:
        with suppress(OSError, ValueError):
            for pid in json.loads((self.home / "pids.json").read_text()):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this process work as the installation does now: its database (as superuser), its key, its Redis."""
        before = connection.settings_dict
        connection.close()
        connection.settings_dict = {
            **before, "NAME": "quokkaq", "USER": "postgres", "PASSWORD": "", "HOST": "127.0.0.1", "PORT": self.server.port,
        }  # fmt: skip
        changed = {
            "SECRET_KEY": self.read("SECRET_KEY").split()[0], "SECRET_KEY_FALLBACKS": [], "SEALING_KEY_FALLBACKS": [],
            "BASE_URL": self.url, "REPLY_DOMAIN": "reply.quokkaq.example",
        }  # fmt: skip
        try:
            with override_settings(**changed), tenancy.scope(tenancy.EVERY):
                yield
        finally:
            connection.close()
            connection.settings_dict = before


@pytest.fixture(scope="module")
def site(
    redis_server: str,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    for name in ("secrets", "metrics"):
        (home / name).mkdir()
    (home / "restart.py").write_text(RESTART)
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        server = stack.enter_context(cluster(fsync="off"))
        owner_password, web_password = with_passwords(server)
        bucket = stack.enter_context(s3_server.running())
        iam_url = stack.enter_context(s3_server.iam())
        mail = stack.enter_context(MailServer())
        models = Models()
        stack.callback(models.server_close)
        stack.callback(models.shutdown)
        redis_port, redis_password = free_port(), secrets.token_urlsafe(12)
        running = subprocess.Popen(
            [redis_server, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--requirepass", redis_password],
            cwd=home, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(running.wait)
        stack.callback(running.kill)
        found = Site(home, server, redis_port, bucket, iam_url, mail, models)
        mail.passwords.add("old-mail-password")
        models.keys.add("old-model-key")
        first = {
            "SECRET_KEY": secrets.token_urlsafe(64),
            "DATABASE_URL": f"postgres://quokkaq_web:{web_password}@127.0.0.1:{server.port}/quokkaq",
            "OWNER_DATABASE_URL": f"postgres://quokkaq:{owner_password}@127.0.0.1:{server.port}/quokkaq",
            "REDIS_URL": f"redis://:{redis_password}@127.0.0.1:{redis_port}/0",
            "METRICS_TOKEN": secrets.token_hex(16), "INBOUND_MAIL_SECRET": secrets.token_hex(16),
            "EMAIL_URL": f"smtp://quokkaq:old-mail-password@127.0.0.1:{mail.port}", "OPENAI_API_KEY": "old-model-key",
        }  # fmt: skip
        for name, value in first.items():
            file = found.secrets / FILES[name]
            file.write_text(f"{value}\n")
            file.chmod(0o640)
        (found.secrets / "aws_credentials").write_text(first_keys(iam_url))
        (found.secrets / "redis_password").write_text(f"{redis_password}\n")
        stack.callback(found.end)
        started = found.run(str(home / "restart.py"), str(home), str(found.port))
        assert started.returncode == 0, started.stderr + (home / "log").read_text()[-3000:]
        yield found


def with_passwords(server: Cluster) -> tuple[str, str]:
    """Put a copy of the tests' database on a server, for an owner and a web role that must give passwords; return these.

    The owner is what operators make on a managed server: no superuser.
    """
    embedded = settings.EMBEDDED_POSTGRES
    assert embedded is not None
    dump, address = server.log.with_name("dump"), connection.settings_dict
    embedded._run("pg_dump", "-Fc", "-h", address["HOST"], "-U", "postgres", "-f", str(dump), address["NAME"])
    owner, web = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    server.ask(f"CREATE ROLE quokkaq LOGIN SUPERUSER PASSWORD '{owner}'")
    server.ask(f"CREATE ROLE quokkaq_web LOGIN PASSWORD '{web}'")
    server.ask("CREATE DATABASE quokkaq OWNER quokkaq")
    host = ("-h", "127.0.0.1", "-p", str(server.port), "-U", "quokkaq")
    server.run("pg_restore", "--no-owner", *host, "-d", "quokkaq", str(dump), PGPASSWORD=owner)
    server.ask("ALTER ROLE quokkaq NOSUPERUSER CREATEROLE")
    server.ask("GRANT quokkaq_web TO quokkaq WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    hba = server.data / "pg_hba.conf"
    asked = "".join(f"host all {role} 127.0.0.1/32 scram-sha-256\n" for role in ("quokkaq", "quokkaq_web"))
    hba.write_text(asked + hba.read_text())
    server.reload()
    return owner, web


def first_keys(iam_url: str) -> str:
    iam = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b").client(
        "iam", endpoint_url=iam_url, region_name="us-east-1"
    )
    iam.create_user(UserName="quokkaq")
    made = iam.create_access_key(UserName="quokkaq")["AccessKey"]
    return credentials(made["AccessKeyId"], made["SecretAccessKey"])


# What people have there, and what the thief holds of it


@dataclass
class Loot:
    """What a thief holds: how each is used (it says whether that works), and what the data were when it was stolen."""

    uses: dict[str, Callable[[], bool]]
    rows: dict[str, int]
    totp_secret: str
    recovery_seed: str
    provider_secret: str
    secret_key: str
    key_id: str
    connection: psycopg.Connection[Any]


def get(site: Site, path: str, cookie: str = "", **headers: str) -> requests.Response:
    cookies = {settings.SESSION_COOKIE_NAME: cookie} if cookie else {}
    return requests.get(f"{site.url}{path}", cookies=cookies, headers=headers, timeout=20, allow_redirects=False)


def shows(site: Site, path: str, text: str = "", status: int = 200) -> Callable[[], bool]:
    """Return a use that works when the page has this status and this text."""

    def use() -> bool:
        found = get(site, path)
        assert found.status_code in (200, 302, 403, 404, 410, 422), (path, found.status_code)
        return found.status_code == status and text in found.text

    return use


def hands_out(site: Site, path: str, person: User) -> bool:
    """Tell whether a link leads to a file, for the person it was made for and with a session of now."""
    with site.inside():
        found = get(site, path, cookie_of(person))
    assert found.status_code in (302, 404), found.status_code
    return found.headers.get("Location", "").startswith(site.bucket.endpoint)


def opens(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def in_redis(address: str) -> bool:
    try:
        return bool(redis.Redis.from_url(address).ping())
    except redis.RedisError:
        return False


def cookie_of(person: User) -> str:
    client = Client()
    client.force_login(person)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def mail_in(site: Site, secret: str, local_part: str) -> requests.Response:
    body = (
        f"From: sam@example.edu\r\nTo: {local_part}@reply.quokkaq.example\r\nSubject: Re\r\nMessage-ID: <{uuid.uuid4()}@x>\r\n"
        f"Content-Type: text/plain\r\n\r\nMe, too {uuid.uuid4()}.\r\n"
    ).encode()
    stamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "message/rfc822", "X-QuokkaQ-Timestamp": stamp, "X-QuokkaQ-Signature": signature}
    return requests.post(f"{site.url}/mail/inbound/", data=body, headers=headers, timeout=20)


def steal(site: Site) -> Loot:
    """Fill the installation, if it is empty, and take all that opens something."""
    with site.inside():
        if not User.objects.exists():
            fill(site)
        sam, ada = User.objects.get(email="sam@example.edu"), User.objects.get(email="ada@example.edu")
        account_actions.set_feed_key(by=sam, on=True)
        course = sam.enrollments.get().course
        thread = course.threads.order_by("number").first()
        assert thread is not None
        export = factories.make_data_export(sam)
        invitation = Invitation.objects.get(email="lena@example.edu")
        address = EmailAddress.objects.create(user=sam, email=f"sam-{uuid.uuid4().hex[:8]}@example.edu")
        local_part = mailing.reply_address(sam, thread).partition("@")[0]
        ticket = ticket_for(export)
        metrics, inbound = site.read("METRICS_TOKEN"), site.read("INBOUND_MAIL_SECRET")
        urls = {name: site.read(name) for name in ("DATABASE_URL", "OWNER_DATABASE_URL", "REDIS_URL", "EMAIL_URL")}
        key_id, key_secret = site.key_pair
        s3 = site.bucket.client(access_key=key_id, secret_key=key_secret)
        s3.put_object(Bucket=site.bucket.bucket, Key="clean/notes.txt", Body=b"x")
        presigned = s3.generate_presigned_url(
            "get_object", Params={"Bucket": site.bucket.bucket, "Key": "clean/notes.txt"}, ExpiresIn=3600
        )
        cookies = {person.email: cookie_of(person) for person in (sam, ada)}
        reset = f"{user_pk_to_url_str(sam)}-{PASSWORD_RESET_TOKEN_GENERATOR().make_token(sam)}"
        uses = {
            "a session of a student": lambda: get(site, "/courses/", cookies[sam.email]).status_code == 200,
            "a session of an instructor": lambda: get(site, "/courses/", cookies[ada.email]).status_code == 200,
            "a password reset": shows(site, f"/sign-in/reset/{reset}/", status=302),
            "a confirmation": shows(site, f"/sign-in/confirm/{EmailConfirmationHMAC(address).key}/", "Yes, it is mine"),
            "a link that makes an account": shows(
                site, f"/sign-up/finish/{sealing.seal(f'{sam.institution_id}/new@example.edu')}/"
            ),
            "an unsubscription": shows(
                site, mailing.unsubscribe_url(sam, thread, None, "thread").removeprefix(site.url)
            ),
            "an invitation": shows(site, link_of(invitation).removeprefix(site.url), "lena@example.edu"),
            "a feed": shows(site, f"/feeds/{sam.feed_key}/{course.slug}/"),
            "a copy of somebody's data": lambda: hands_out(site, f"/me/data/download/{ticket}/", sam),
            "a reply by mail": lambda: mail_in(site, inbound, local_part).status_code == 200,
            "the metrics": lambda: get(site, "/metrics", Authorization=f"Bearer {metrics}").status_code == 200,
            "the database as the web": lambda: opens(urls["DATABASE_URL"]),
            "the database as its owner": lambda: opens(urls["OWNER_DATABASE_URL"]),
            "Redis": lambda: in_redis(urls["REDIS_URL"]),
            "a link to a file": lambda: requests.get(presigned, timeout=20).status_code == 200,
            "the key of S3": lambda: lists(site, key_id, key_secret),
        }  # fmt: skip
        app = Authenticator.objects.get(user=ada, type="totp")
        codes = Authenticator.objects.get(user=ada, type="recovery_codes")
        return Loot(
            uses, counted(), sealing.unseal(app.data["secret"]), sealing.unseal(codes.data["seed"]),
            IdentityProvider.objects.get().secret, settings.SECRET_KEY, key_id, psycopg.connect(urls["DATABASE_URL"]),
        )  # fmt: skip


def lists(site: Site, key: str, secret: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        site.bucket.client(access_key=key, secret_key=secret).list_objects_v2(Bucket=site.bucket.bucket)
    except ClientError:
        return False
    return True


def fill(site: Site) -> None:
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes

    world = factories.make_world()
    ada, sam = world.user("ada"), world.user("sam")
    TOTP.activate(ada, generate_totp_secret())
    RecoveryCodes.activate(ada)
    row = IdentityProvider(
        institution=world.institution, slug="uni", name="Uni", protocol="oidc", server_url="https://id.example.edu",
        client_id="quokkaq",
    )  # fmt: skip
    row.secret = "what the university's sign-in service gave us"
    row.save()
    current_lti_key(world.institution.pk)
    factories.make_thread(world.member("sam"))
    factories.make_invitation(world.member("ada"))
    assert sam.pk


# Rows that only ever grow, or that are to end.
MOVING = {
    "django_session", "usersessions_usersession", "procrastinate_jobs", "procrastinate_events", "procrastinate_workers",
    "procrastinate_periodic_defers", "accounts_auditevent", "forum_post", "forum_notification", "forum_mail", "forum_incomingmail",
    "accounts_passingratecount", "accounts_ratecount", "quokkaq_operation",
    # Made by the worker out of the others.
    "forum_factsdue", "forum_questionfact", "forum_answerfact",
}  # fmt: skip


def counted() -> dict[str, int]:
    """Return how many rows each table has that loses none."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
        for (name,) in cursor.fetchall():
            if name not in MOVING:
                cursor.execute(f'SELECT count(*) FROM "{name}"')
                found[name] = cursor.fetchone()[0]
    return found


# The drill


def sign_in(site: Site, email: str, totp_secret: str = "") -> int:
    """Sign in as people do; return the status of their courses' page."""
    browser = requests.Session()

    def send(path: str, **fields: str) -> requests.Response:
        page = browser.get(f"{site.url}{path}", timeout=20)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token, (path, page.status_code)
        fields["csrfmiddlewaretoken"] = token[1]
        return browser.post(page.url, data=fields, headers={"Referer": page.url}, timeout=20)

    send("/sign-in/", email=email, password=factories.PASSWORD)
    if totp_secret:
        counter = next(iter(yield_hotp_counters_from_time()))
        send("/sign-in/second-step/", code=str(format_hotp_value(hotp_value(totp_secret, counter))))
    return browser.get(f"{site.url}/courses/", timeout=20, allow_redirects=False).status_code


def forged_session(secret_key: str) -> str:
    """Put a session into the database as somebody could who had everything; return its cookie."""
    with override_settings(SECRET_KEY=secret_key):
        return cookie_of(User.objects.get(email="sam@example.edu"))


def said_no_secret(output: str, site: Site, loot: Loot) -> None:
    held = [
        loot.secret_key,
        site.read("SECRET_KEY"),
        *site.key_pair,
        site.read("METRICS_TOKEN"),
        site.read("OPENAI_API_KEY"),
    ]
    held += [password_of(site.read(name)) for name in ("DATABASE_URL", "OWNER_DATABASE_URL", "REDIS_URL", "EMAIL_URL")]
    assert not [secret for secret in held if secret in output]


def check_that_all_is_new(site: Site, loot: Loot) -> None:
    """Nothing of the thief's works, nothing of people's is lost, and they sign in again."""
    assert {name for name, use in loot.uses.items() if use()} == set()
    with pytest.raises(psycopg.OperationalError):
        loot.connection.execute("SELECT 1")
    keys = site.read("SECRET_KEY").split()
    assert len(keys) == 1
    assert keys[0] != loot.secret_key
    with site.inside():
        assert counted() == loot.rows
        ada = User.objects.get(email="ada@example.edu")
        factors = {row.type: row.data for row in Authenticator.objects.filter(user=ada)}
        assert sealing.unseal(factors["totp"]["secret"]) == loot.totp_secret
        assert sealing.unseal(factors["recovery_codes"]["seed"]) == loot.recovery_seed
        assert IdentityProvider.objects.get().secret == loot.provider_secret
        assert "PRIVATE KEY" in lti_keys.unseal(LtiKey.objects.get().sealed)
        # With the key that was stolen nothing is opened any more, not even with the database beside it.
        with override_settings(SECRET_KEY=loot.secret_key), pytest.raises(sealing.SealBroken):
            sealing.unseal(factors["totp"]["secret"])
        invitation = Invitation.objects.get(email="lena@example.edu")
        assert shows(site, link_of(invitation).removeprefix(site.url), "lena@example.edu")()
        assert get(site, "/courses/", forged_session(loot.secret_key)).status_code == 302
        assert get(site, "/courses/", forged_session(keys[0])).status_code == 200
    assert lists(site, *site.key_pair)
    assert in_redis(site.read("REDIS_URL"))
    assert get(site, "/metrics", Authorization=f"Bearer {site.read('METRICS_TOKEN')}").status_code == 200
    assert sign_in(site, "sam@example.edu") == 200
    assert sign_in(site, "ada@example.edu", loot.totp_secret) == 200
    # No step left anything lying about, and the files are as readable as they were.
    assert sorted(file.name for file in site.secrets.iterdir()) == sorted(
        [*FILES.values(), "aws_credentials", "redis_password"]
    )
    assert {oct(file.stat().st_mode & 0o777) for file in site.secrets.iterdir() if file.name in FILES.values()} == {
        "0o640"
    }
    assert (site.secrets / "redis_password").read_text().strip() == password_of(site.read("REDIS_URL"))


@contextmanager
def outages(site: Site) -> Iterator[list[float]]:
    """Ask for a page all the time; yield when it wasn't served."""
    failed: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            try:
                served = get(site, "/api/v1/ready").status_code == 200
            except requests.RequestException:
                served = False
            if not served:
                failed.append(time.monotonic())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failed
    finally:
        over.set()
        thread.join()


def test_one_command_replaces_every_secret_and_loses_nothing(site: Site, tmp_path: Path) -> None:
    loot = steal(site)
    assert {name for name, use in loot.uses.items() if not use()} == set(), "what the thief holds doesn't work"
    loot.rows = rows_of(site)
    password, key = secrets.token_hex(8), secrets.token_hex(8)
    (tmp_path / "mail").write_text(f"smtp://quokkaq:{password}@127.0.0.1:{site.mail.port}")
    (tmp_path / "model").write_text(key)
    refused = site.rotate("--now", "--new", f"OPENAI_API_KEY={tmp_path}/model")
    assert refused.returncode == 1
    assert "The service doesn't take it (401)" in refused.stderr
    assert get(site, "/api/v1/ready").status_code == 200, "a key that is refused changes nothing"
    assert not (site.secrets / "rotation.json").exists()
    # The providers issue new ones.
    site.mail.passwords, site.models.keys = {password}, {key}

    started = time.monotonic()
    with outages(site) as failed:
        done = site.rotate(
            "--now", "--new", f"EMAIL_URL={tmp_path}/mail", "--new", f"OPENAI_API_KEY={tmp_path}/model",
            "--restart", site.restart,
        )  # fmt: skip
        took = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    said_no_secret(done.stdout + done.stderr, site, loot)
    assert took < TARGET_SECONDS
    check_that_all_is_new(site, loot)
    assert site.read("OPENAI_API_KEY") == key
    with site.inside():
        noted = AuditEvent.objects.filter(verb="institution.secret_rotated", actor=None)
        assert set(noted.values_list("data__secret", flat=True)) == {
            "database", "secret_key", "redis", "metrics_token", "inbound_mail", "s3", "mail", "openai"
        }  # fmt: skip
    now = rows_of(site)
    away = failed[-1] - failed[0] if failed else 0.0
    measured(
        "compromise", note="every secret replaced, everybody signed out, all links ended, services started again",
        recovery_seconds=took, outage_seconds=away, tried=len(loot.uses),
        rows_lost=sum(max(0, count - now[table]) for table, count in loot.rows.items()),
    )  # fmt: skip


# After which of its own functions the command is killed, and at which call of it.
DEATHS = (
    ("quokkaq.rotation.vault:Vault.stage", 2),
    ("quokkaq.rotation.providers:new_key_pair", 1),
    ("quokkaq.rotation.steps:Rotation.stage", 1),
    ("quokkaq.rotation.providers:set_redis_password", 1),
    ("quokkaq.rotation.steps:set_password", 1),
    ("quokkaq.rotation.steps:end_connections", 2),
    ("quokkaq.rotation.vault:Vault.publish", 2),
    ("quokkaq.rotation.steps:Rotation.publish", 1),
    ("accounts.actions:end_all_links", 1),
    ("accounts.actions:note_rotation", 1),
    ("quokkaq.rotation.steps:Rotation.start_again", 1),
    ("quokkaq.rotation.providers:end_key_pair", 1),
    ("accounts.actions:reseal_everything", 1),
    ("quokkaq.rotation.steps:Rotation.finish", 1),
)


def test_killed_at_any_step_it_goes_on_when_it_is_run_again(site: Site, tmp_path: Path) -> None:
    loot = steal(site)
    assert all(use() for use in loot.uses.values())
    loot.rows = rows_of(site)
    for place, call in DEATHS:
        done = site.run("-c", DYING, place, str(call), "--now", "--restart", site.restart)
        assert done.returncode == -signal.SIGKILL, f"{place}: {done.stdout}{done.stderr}"
        # However far it came: what is written there is whole, and somebody lets it in.
        assert len(site.read("SECRET_KEY").split()[0]) > 50
        assert site.read("DATABASE_URL").startswith("postgres://quokkaq_web:")
    done = site.rotate("--now", "--restart", site.restart)
    assert done.returncode == 0, done.stdout + done.stderr
    check_that_all_is_new(site, loot)
    iam: Any = boto3.session.Session(*site.key_pair).client("iam", endpoint_url=site.iam_url, region_name="us-east-1")
    assert [key["AccessKeyId"] for key in iam.list_access_keys()["AccessKeyMetadata"]] == [site.key_pair[0]]


def rows_of(site: Site) -> dict[str, int]:
    with site.inside():
        return counted()
