"""Replacing secrets: the files, what is refused and why, and what keeps working."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import uuid
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import signing
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import actions
from accounts.actions.invitations import link_of
from accounts.actions.lti import current_lti_key
from accounts.lti import keys as lti_keys
from accounts.models import AuditEvent, IdentityProvider, Invitation, LtiKey
from quokkaq.lib import sealing, tenancy
from quokkaq.management.commands.rotate_secrets import Command
from quokkaq.rotation import providers, steps
from quokkaq.rotation.catalogue import BY_VARIABLE, SECRETS
from quokkaq.rotation.vault import (
    CREDENTIALS,
    Journal,
    NoPlace,
    Vault,
    alone,
    credentials,
    key_pair,
    password_of,
    write,
)
from tests import factories
from tests.factories import World
from tests.quokkaq.test_alerts import blocks
from tests.quokkaq.test_operations_files import variables_read

OLD, NEW = "old key " * 8, "new key " * 8


def rotate(*arguments: str) -> str:
    said = StringIO()
    call_command("rotate_secrets", *arguments, stdout=said)
    return said.getvalue()


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of which only the metrics' token is a secret in a file."""
    for secret in SECRETS:
        for name in secret.variables:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "metrics_token").write_text("the old token\n")
    (folder / "metrics_token").chmod(0o640)
    monkeypatch.setenv("METRICS_TOKEN_FILE", str(folder / "metrics_token"))
    return folder


# Keys


def test_a_stolen_key_opens_what_lies_here_and_no_link(settings: Any) -> None:
    settings.SECRET_KEY = OLD
    kept, link, signed = sealing.seal("secret of an app"), sealing.seal("prove/1"), signing.dumps("x")
    settings.SECRET_KEY, settings.SEALING_KEY_FALLBACKS = NEW, [OLD]
    assert sealing.unseal(kept) == "secret of an app"
    with pytest.raises(sealing.SealBroken):
        sealing.unseal(link, max_age=60)
    with pytest.raises(signing.BadSignature):
        signing.loads(signed)
    assert sealing.unseal(sealing.seal("new"), max_age=60) == "new"
    # A change by plan goes on as it did: what the former key made stays valid for a while.
    settings.SECRET_KEY_FALLBACKS, settings.SEALING_KEY_FALLBACKS = [OLD], []
    assert sealing.unseal(link, max_age=60) == "prove/1"
    assert signing.loads(signed) == "x"


def test_sealing_anew_needs_the_former_key_once(settings: Any) -> None:
    settings.SECRET_KEY = OLD
    kept = sealing.seal("x")
    settings.SECRET_KEY, settings.SEALING_KEY_FALLBACKS = NEW, [OLD]
    anew = sealing.reseal(kept)
    assert anew != kept
    assert sealing.reseal(anew) == anew
    settings.SEALING_KEY_FALLBACKS = []
    assert sealing.unseal(anew) == "x"
    with pytest.raises(sealing.SealBroken):
        sealing.reseal(kept)


def test_everything_sealed_in_the_database_is_sealed_anew(world: World, settings: Any) -> None:
    settings.SECRET_KEY = OLD
    ada = world.user("ada")
    secret = generate_totp_secret()
    TOTP.activate(ada, secret)
    provider = IdentityProvider(institution=world.institution, slug="uni", name="Uni", protocol="oidc", client_id="q")
    provider.secret = "theirs"
    provider.save()
    lost = IdentityProvider(
        institution=world.institution, slug="lost", name="Lost", sealed_secret="gone", protocol="oidc"
    )
    lost.save()
    current_lti_key(world.institution.pk)
    settings.SECRET_KEY, settings.SEALING_KEY_FALLBACKS = NEW, [OLD]
    with tenancy.scope(tenancy.EVERY):
        assert actions.reseal_everything() == (3, 1)
        assert actions.reseal_everything() == (0, 1)
    settings.SEALING_KEY_FALLBACKS = []
    assert sealing.unseal(Authenticator.objects.get(user=ada).data["secret"]) == secret
    provider.refresh_from_db()
    assert provider.secret == "theirs"
    assert "PRIVATE KEY" in lti_keys.unseal(LtiKey.objects.get().sealed)
    lost.refresh_from_db()
    assert lost.sealed_secret == "gone"


def test_no_sealed_column_is_forgotten() -> None:
    """Whoever seals another column has it sealed anew, too."""
    from django.apps import apps

    named = {
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if "sealed" in field.name
    }
    from accounts.actions.compromise import _sealed

    known = {(rows.model, column) for rows, column, _ in _sealed()}
    assert named <= known


def test_lines_below_the_key_in_its_file_are_former_keys(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    file.write_text(f"{NEW}\n{OLD}\n")
    ask = (
        "from django.conf import settings as s; print([s.SECRET_KEY, s.SECRET_KEY_FALLBACKS, s.SEALING_KEY_FALLBACKS])"
    )
    variables = {"PATH": os.environ["PATH"], "QUOKKAQ_MODE": "demo", "DATABASE_URL": "postgres://q@127.0.0.1:1/q"}
    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=False, cwd=RUNBOOK.parents[3],
        env={**variables, "SECRET_KEY_FILE": str(file), "DJANGO_SETTINGS_MODULE": "quokkaq.settings"},
    )  # fmt: skip
    assert done.stdout.strip() == str([NEW, [], [OLD.strip()]]), done.stderr


# People


def test_links_that_need_no_signature_end_too(world: World, client: Client) -> None:
    sam = world.user("sam")
    invitation = factories.make_invitation(world.member("ada"))
    actions.set_feed_key(by=sam, on=True)
    old, feed = link_of(invitation), f"/feeds/{sam.feed_key}/{world.course.slug}/"
    until = Invitation.objects.get().expires_at
    path = old[old.index("/invitations/") :]
    assert client.get(path).status_code == client.get(feed).status_code == 200
    with tenancy.scope(tenancy.EVERY):
        assert actions.end_all_links() == {"invitations": 1, "feeds": 1}
    assert "lena@example.edu" not in client.get(path).content.decode()
    assert client.get(feed).status_code == 404
    anew = Invitation.objects.get()
    link = link_of(anew)
    assert "lena@example.edu" in client.get(link[link.index("/invitations/") :]).content.decode()
    assert (anew.expires_at, anew.last_sent_at) == (until, None)


def test_everybody_is_signed_out(world: World, client: Client) -> None:
    client.force_login(world.user("sam"))
    assert client.get("/courses/").status_code == 200
    with tenancy.scope(tenancy.EVERY):
        assert actions.end_all_sessions() >= 1
    assert client.get("/courses/").status_code == 302


def test_platforms_are_shown_the_new_key_only(world: World, client: Client) -> None:
    current_lti_key(world.institution.pk)
    address = f"/lti/jwks/{world.institution.slug}/"
    (before,) = client.get(address).json()["keys"]
    with tenancy.scope(tenancy.EVERY):
        assert actions.replace_lti_keys() == 1
    (after,) = client.get(address).json()["keys"]
    assert after["n"] != before["n"]


def test_a_rotation_is_noted_once_for_each_institution_and_secret(world: World) -> None:
    rotation = uuid.uuid4()
    with tenancy.scope(tenancy.EVERY):
        actions.note_rotation(rotation, ["s3", "mail"])
        actions.note_rotation(rotation, ["s3", "mail", "redis"])
    found = AuditEvent.objects.filter(verb="institution.secret_rotated", target_id=world.institution.pk)
    assert sorted(event.data["secret"] for event in found) == ["mail", "redis", "s3"]
    assert AuditEvent.objects.filter(verb="institution.secret_rotated").count() == 6


# Files


def test_a_file_is_replaced_whole_and_stays_as_readable_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "secret"
    place.write_text("old\n")
    place.chmod(0o640)
    write(place, "new")
    assert place.read_text() == "new\n"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    write(tmp_path / "other", "x")
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o600

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        write(place, "newer")
    assert place.read_text() == "new\n"
    monkeypatch.undo()
    write(place, "newest")
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["other", "secret"]


def test_a_pair_of_keys_is_read_as_it_was_written() -> None:
    assert key_pair(credentials("AKIA", "se/cr+et%")) == ("AKIA", "se/cr+et%")
    for broken in ("", "no file", "[default]\naws_access_key_id = x\n"):
        with pytest.raises(NoPlace):
            key_pair(broken)


def test_only_one_rotates_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(NoPlace, match="Another rotation"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_the_password_in_a_url_is_replaced_and_nothing_else() -> None:
    for url in (
        "postgres://me:old@db.example:5432/forum?sslmode=require",
        "redis://:old@redis:6379/0",
        "postgres://me@db/forum",
    ):
        new = providers.with_password(url, "n/e:w@")
        assert new.replace(":n%2Fe%3Aw%40@", "@") == url.replace(":old@", "@")


# The command


def test_the_plan_changes_nothing_and_shows_no_secret(tokens: Path) -> None:
    said = rotate()
    assert f"METRICS_TOKEN, from {tokens}/metrics_token" in said
    assert "secret_key: not used here." in said
    assert "the old token" not in said
    assert (tokens / "metrics_token").read_text() == "the old token\n"
    assert os.listdir(tokens) == ["metrics_token"]


@pytest.mark.django_db(transaction=True)
def test_one_secret_is_replaced_and_people_notice_nothing(
    tokens: Path, world: World, client: Client, settings: Any
) -> None:
    client.force_login(world.user("sam"))
    said = rotate("--now", "--only", "metrics_token", "--restart", "true")
    assert f"New: METRICS_TOKEN, in {tokens}/metrics_token" in said
    token = (tokens / "metrics_token").read_text().strip()
    assert token != "the old token"
    assert len(token) > 30
    assert token not in said
    assert stat.S_IMODE((tokens / "metrics_token").stat().st_mode) == 0o640
    assert os.listdir(tokens) == ["metrics_token"]
    assert client.get("/courses/").status_code == 200
    assert AuditEvent.objects.filter(verb="institution.secret_rotated").count() == 2


@pytest.mark.django_db(transaction=True)
def test_who_restarts_by_hand_is_told_and_finishes(tokens: Path) -> None:
    assert "then run: manage.py rotate_secrets --finish" in rotate("--now")
    assert json.loads((tokens / "rotation.json").read_text())["chosen"] == ["metrics_token"]
    token = (tokens / "metrics_token").read_text()
    assert "Going on with what was begun" in rotate("--now")
    assert (tokens / "metrics_token").read_text() == token, "what was replaced is replaced once"
    assert "Done in" in rotate("--finish")
    assert os.listdir(tokens) == ["metrics_token"]


def test_an_account_has_one_new_password_in_every_url_and_ends_on_each_server(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {
        "DATABASE_URL": "postgres://web:old@primary:5432/q", "OWNER_DATABASE_URL": "postgres://owner:old@primary:5432/q",
        "DATABASE_REPLICA_URL": "postgres://web:old@copy:5432/q", "TASKS_DATABASE_URL": "postgres://web:old@primary:5432/q",
    }  # fmt: skip
    for name, url in urls.items():
        (tokens / name.lower()).write_text(url)
        monkeypatch.setenv(f"{name}_FILE", str(tokens / name.lower()))
    ended: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(steps, "takes", lambda url: True)
    monkeypatch.setattr("quokkaq.rotation.steps.psycopg.connect", MagicMock())
    monkeypatch.setattr(steps, "set_password", MagicMock())
    monkeypatch.setattr(steps, "end_connections", ended.append)
    vault = Vault(None, os.environ)
    rotation = steps.Rotation(vault, Journal.begin(tokens, ["database"], []), said.append, given={})
    rotation.stage()
    rotation.database()
    now = {name: vault.read(name) for name in urls}
    web, owner = password_of(now["DATABASE_URL"]), password_of(now["OWNER_DATABASE_URL"])
    assert len({web, owner, "old"}) == 3
    assert {password_of(now[name]) for name in urls if name != "OWNER_DATABASE_URL"} == {web}
    assert [call.args[1:] for call in steps.set_password.mock_calls] == [("web", web), ("owner", owner)]  # type: ignore[attr-defined]  # set at run time, or typed as its base
    assert sorted(url.rpartition("@")[2] for url in ended) == ["copy:5432/q", "primary:5432/q", "primary:5432/q"]


@pytest.mark.django_db(transaction=True)
def test_a_restart_that_fails_is_tried_again(tokens: Path) -> None:
    with pytest.raises(CommandError, match="ended with code 1"):
        rotate("--now", "--restart", "false")
    assert "Done in" in rotate("--now", "--restart", "true")


@pytest.mark.django_db(transaction=True)
def test_a_secret_of_the_environment_is_written_to_a_file_and_said_where(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METRICS_TOKEN_FILE")
    monkeypatch.setenv("METRICS_TOKEN", "the old token")
    with pytest.raises(CommandError, match="Say with --folder"):
        rotate("--now")
    with pytest.raises(CommandError, match="Leave --restart out"):
        rotate("--now", "--folder", str(tokens), "--restart", "true")
    said = rotate("--now", "--folder", str(tokens))
    assert "Set METRICS_TOKEN_FILE to that path, and take METRICS_TOKEN out" in said
    assert (tokens / "metrics_token").read_text().strip() not in ("", "the old token")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "everything"], "--only knows no everything"),
        (["--only", "mail"], "mail can't be replaced: there is none"),
        (["--folder", "/nowhere"], "/nowhere is no folder"),
        (["--new", "EMAIL_URL"], "--new takes NAME=FILE"),
        (["--new", "SECRET_KEY=/etc/hostname"], "--new takes NAME=FILE"),
        (["--new", "EMAIL_URL=/nowhere"], "/nowhere can't be read"),
        (["--new", "EMAIL_URL=/dev/null"], "/dev/null is empty"),
    ],
)
def test_bad_input_gets_a_sentence_and_changes_nothing(tokens: Path, arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        rotate("--now", *arguments)
    assert os.listdir(tokens) == ["metrics_token"]


def test_former_keys_that_sign_are_refused(tokens: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", str(tokens / "secret_key"))
    (tokens / "secret_key").write_text(OLD)
    settings.SECRET_KEY_FALLBACKS = ["former"]
    with pytest.raises(CommandError, match="Rename it to SEALING_KEY_FALLBACKS"):
        rotate("--now")


def test_a_broken_journal_is_named(tokens: Path) -> None:
    (tokens / "rotation.json").write_text("{")
    with pytest.raises(CommandError, match=r"rotation\.json can't be read"):
        rotate("--now")


def test_what_a_provider_refuses_or_nobody_can_try_replaces_nothing(tokens: Path, settings: Any) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:1/v1"
    (tokens / "openai_api_key").write_text("old")
    for name, value, error in (
        ("OPENAI_API_KEY", "new", providers.NotTaken),
        ("EMAIL_URL", "smtp://me:new@127.0.0.1:1", providers.NotTaken),
        ("EMAIL_URL", "carrier-pigeon://me", providers.NotTaken),
        ("REDIS_URL", "redis://:new@127.0.0.1:1/0", providers.NotTaken),
        ("SENTRY_DSN", "https://k@h/1", providers.Untried),
    ):
        with pytest.raises(error) as raised:
            providers.try_out(name, value)
        assert "new" not in str(raised.value)
    with pytest.raises(providers.NotTaken, match="--untried"):
        steps.try_given({"SENTRY_DSN": "https://k@h/1"}, untried=False)
    steps.try_given({"SENTRY_DSN": "https://k@h/1"}, untried=True)


@pytest.mark.django_db(transaction=True)
def test_a_step_that_is_refused_before_anything_was_replaced_is_taken_back(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens where keys are made: the token stays, nothing lies about, and the rest can be done without it."""
    (tokens / "aws").write_text(credentials("AKIA", "secret"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tokens / "aws"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:1")
    with pytest.raises(CommandError, match=r"IAM makes no new key \(EndpointConnectionError\)\. Nothing was replaced"):
        rotate("--now")
    assert (tokens / "metrics_token").read_text() == "the old token\n"
    assert sorted(os.listdir(tokens)) == ["aws", "metrics_token"]
    assert "Done in" in rotate("--now", "--only", "metrics_token", "--restart", "true")


def test_a_new_secret_of_a_provider_is_never_invented(tokens: Path) -> None:
    vault = Vault(tokens, {"EMAIL_URL": "smtp://old"})
    journal = Journal.begin(tokens, ["mail"], ["EMAIL_URL"])
    with pytest.raises(providers.NotTaken, match="say --new EMAIL_URL=FILE again"):
        steps.Rotation(vault, journal, print, given={}).stage()
    assert not vault.staged("EMAIL_URL")
    assert vault.source(CREDENTIALS) == ""


# The runbook

RUNBOOK = Path(__file__).resolve().parents[2] / "ops/runbooks/procedures/compromise.md"


def test_commands_of_the_runbook_are_shell_and_the_options_exist(tmp_path: Path) -> None:
    text = RUNBOOK.read_text()
    found = blocks(text)
    assert len(found) == text.count("```sh")
    assert all(block.kind for block in found)
    file = tmp_path / "runbook.sh"
    names = "".join(block.text for block in blocks((RUNBOOK.parent.parent / "README.md").read_text()))
    file.write_text("\n".join(["#!/bin/sh", names, *(block.text for block in found)]))
    done = subprocess.run(
        [shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "shellcheck",
         "--shell=sh", "--exclude=SC2034,SC2317,SC2329", str(file)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    parser = Command().create_parser("manage.py", "rotate_secrets")
    options = {option for action in parser._actions for option in action.option_strings}
    for block in found:
        if "rotate" in block.text:
            used = set(re.findall(r"(?<= )--(?:now|finish|plan|folder|only|new|restart|untried)\b", block.text))
            assert used, block.text
            assert used <= options
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (RUNBOOK.parent / target).exists(), target


def test_every_secret_that_can_come_from_a_file_is_in_the_catalogue() -> None:
    """Whoever adds a secret to the settings says what hangs on it."""
    read = variables_read("quokkaq/settings.py")
    secrets = {name.removesuffix("_FILE") for name in read if name.endswith("_FILE")}
    assert secrets == set(BY_VARIABLE) - {CREDENTIALS}
