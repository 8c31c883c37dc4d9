"""The steps of a rotation, in the order in which each of them may be the last before a crash.

Nothing is valid twice in PostgreSQL: a role has one password. So all that takes its time (new keys, trying what others
issued) is staged first, beside the files it is to replace. Then the database shuts out whoever has the old passwords, also
a thief who is connected, and from there until web and worker are started again pages answer 503: nobody can use an old
session or link meanwhile. Each step may be run again.
"""

import secrets
import shlex
import subprocess  # nosec B404
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from psycopg import sql

from accounts import actions
from quokkaq.lib.database.owner import as_owner
from quokkaq.rotation import providers
from quokkaq.rotation.catalogue import BY_KEY, BY_VARIABLE, DATABASE, SECRETS, Secret
from quokkaq.rotation.providers import NotTaken, Untried
from quokkaq.rotation.vault import CREDENTIALS, Journal, NoPlace, Vault, key_pair, password_of

Say = Callable[[str], object]
# A copy learns a new password from its primary, a moment later.
_LEARNS_SECONDS = 10.0


def here(vault: Vault) -> list[Secret]:
    """Return the secrets this installation has."""
    return [secret for secret in SECRETS if any(vault.read(name) for name in secret.variables)]


def made_without_help(secret: Secret, vault: Vault) -> bool:
    """Tell whether a new one is made by us: a Redis that is run by others often doesn't let its password be set."""
    return secret.made_here and (secret.key != "redis" or providers.redis_obeys(vault.read("REDIS_URL")))


def try_given(given: Mapping[str, str], *, untried: bool) -> None:
    """Try what providers issued. Raises `NotTaken` for the first that doesn't work, or that nobody can try."""
    for name, value in given.items():
        try:
            providers.try_out(name, value)
        except Untried as reason:
            if not untried:
                raise NotTaken(f"{name}: {reason} Say --untried to take it as it is.") from None
        except NotTaken as reason:
            raise NotTaken(f"{name}: {reason}") from None


class Rotation:
    """One rotation, begun or gone on with.

    Args:
        given: new secrets from providers, by variable; they were tried.
        restart: the command that starts web and worker again; empty: operators do that themselves.
    """

    def __init__(
        self, vault: Vault, journal: Journal, say: Say, *, given: Mapping[str, str], restart: str = "",
    ) -> None:  # fmt: skip
        self.vault, self.journal, self.say = vault, journal, say
        self.given, self.restart = given, restart
        self.vault.replaced = journal.changed

    def run(self) -> bool:
        """Go on from the first step that isn't done; return False when somebody has to start web and worker first."""
        for name, step in STEPS:
            if name in self.journal.done:
                continue
            if name == "restart" and not self.restart:
                return False
            step(self)
            self.journal.note(name)
        self.journal.end()
        return True

    def abandon(self) -> None:
        """Take back what was staged: nothing was replaced yet."""
        staged = self.vault.staged(CREDENTIALS)
        if staged and CREDENTIALS not in self.journal.given:
            with suppress(NotTaken):
                providers.end_key_pair(key_pair(staged)[0], by=self.vault.read(CREDENTIALS))
        for name in BY_VARIABLE:
            self.vault.forget(name)
        self.journal.end()

    def has(self, key: str) -> bool:
        return key in self.journal.chosen

    # Steps

    def stage(self) -> None:
        """Write each new secret beside the old one."""
        for name in self.journal.given:
            if not self.vault.staged(name):
                self._stage_given(name)
        passwords: dict[str, str] = {}
        staged = dict.fromkeys(self.journal.given)
        for key in self.journal.chosen:
            for name in BY_KEY[key].variables:
                old = self.vault.read(name)
                if name in staged or not old:
                    continue
                if not self.vault.staged(name):
                    self.vault.stage(name, self._new(name, old, passwords))
                if name in DATABASE:
                    passwords[_role(old)] = password_of(self.vault.staged(name))
                staged[name] = None
        if self.has("s3") and CREDENTIALS not in self.journal.given:
            providers.try_out(CREDENTIALS, self.vault.staged(CREDENTIALS))
            self.journal.ended_key = key_pair(self.vault.read(CREDENTIALS))[0]
        self.journal.changed[:] = staged
        self.journal.save()

    def _stage_given(self, name: str) -> None:
        value = self.given.get(name, "")
        if not value:
            raise NotTaken(f"The new {name} wasn't taken yet: say --new {name}=FILE again.")
        self.vault.stage(name, value)

    def _new(self, name: str, old: str, passwords: Mapping[str, str]) -> str:
        if name == "SECRET_KEY":
            former = [*old.splitlines(), *settings.SEALING_KEY_FALLBACKS]
            return "\n".join(dict.fromkeys([secrets.token_urlsafe(64), *former]))
        if name == CREDENTIALS:
            return providers.new_key_pair(old, since=datetime.fromisoformat(self.journal.begun))
        if name in DATABASE:
            # One account has one password in all URLs.
            return providers.with_password(old, passwords.get(_role(old)) or secrets.token_urlsafe(32))
        if name == "REDIS_URL":
            return providers.with_password(old, secrets.token_urlsafe(32))
        return secrets.token_urlsafe(32)

    def database(self) -> None:
        """Set the passwords of the database's accounts, and end every connection made with the old ones."""
        if not self.has("database"):
            return
        urls = [url for name in DATABASE if (url := self.vault.staged(name))]
        wanted = {_role(url): url for url in reversed(urls)}
        if wanted:
            with psycopg.connect(self._owner_url(), autocommit=True, connect_timeout=5) as owner:
                for role, url in wanted.items():
                    set_password(owner, role, password_of(url))
        for role, url in wanted.items():
            end_connections(url)
            self.say(f"The account {role} of the database has a new password, and its connections have ended.")
        for url in urls:
            if _server(url) != _server(wanted[_role(url)]) and not end_soon(url):
                self.say(f"{_server(url)} can't be reached: connections to it, if there are any, go on.")
        for name in DATABASE:
            self.vault.publish(name)

    def publish(self) -> None:
        """Put the other new secrets into their places."""
        for name in self.journal.changed:
            if name not in (*DATABASE, "REDIS_URL"):
                self.vault.publish(name)

    def redis(self) -> None:
        """Set the password of Redis. Until web and worker are started again they work without it."""
        new = self.vault.staged("REDIS_URL")
        if self.has("redis") and new:
            providers.set_redis_password(self.vault.read("REDIS_URL"), new)
            self.vault.publish("REDIS_URL")

    def people(self) -> None:
        """End sessions and links, give platforms new keys, and note in the audit log what was replaced."""
        self._adopt()
        with as_owner():
            if self.has("secret_key"):
                sessions = actions.end_all_sessions()
                links = actions.end_all_links()
                keys = actions.replace_lti_keys()
                self._empty_redis()
                self.say(
                    f"Ended: {sessions} sessions, {links['feeds']} addresses of feeds. Mailed anew: "
                    f"{links['invitations']} invitations. New keys for platforms: {keys}."
                )
            actions.note_rotation(self.journal.rotation, self.journal.chosen)

    def end_key(self) -> None:
        """Remove the old key at S3: links that it signed end. Should IAM refuse, web and worker run already."""
        if self.has("s3") and self.journal.ended_key:
            providers.end_key_pair(self.journal.ended_key, by=self.vault.read(CREDENTIALS))

    def start_again(self) -> None:
        done = subprocess.run(shlex.split(self.restart), check=False)  # nosec B603
        if done.returncode != 0:
            raise NotTaken(
                f"The command that restarts ended with code {done.returncode}. Run this again: it goes on there."
            )

    def finish(self) -> None:
        """Seal anew what the former key still opens, and forget that key."""
        if self.has("secret_key"):
            self._adopt()
            finish_sealing(self.vault, self.say)
            # What processes of before may have put there until they ended.
            self._empty_redis()

    # What this process itself needs

    def _owner_url(self) -> str:
        """Return a URL of the owner with the password that is in force, which a crash may have left staged."""
        name = DATABASE[1] if self.vault.read(DATABASE[1]) else DATABASE[0]
        return next(
            (url for url in (self.vault.read(name), self.vault.staged(name)) if url and takes(url)),
            self.vault.read(name),
        )

    def _adopt(self) -> None:
        """Have this process work with what the files say now."""
        adopt_keys(self.vault)
        if self.vault.read(DATABASE[0]):
            settings.DATABASE_OWNER["PASSWORD"] = password_of(self._owner_url())

    def _empty_redis(self) -> None:
        url = self.vault.read("REDIS_URL")
        if url and providers.redis_takes(url):
            with providers.redis_at(url) as client:
                client.flushdb()


STEPS: tuple[tuple[str, Callable[[Rotation], None]], ...] = (
    ("stage", Rotation.stage),
    ("redis", Rotation.redis),
    ("database", Rotation.database),
    ("publish", Rotation.publish),
    ("people", Rotation.people),
    ("restart", Rotation.start_again),
    ("end-key", Rotation.end_key),
    ("finish", Rotation.finish),
)


def adopt_keys(vault: Vault) -> None:
    """Have this process sign and seal with the key that the file holds now."""
    keys = vault.read("SECRET_KEY").splitlines()
    if keys:
        settings.SECRET_KEY, former = keys[0], keys[1:]
        settings.SEALING_KEY_FALLBACKS = list(dict.fromkeys([*former, *settings.SEALING_KEY_FALLBACKS]))


def finish_sealing(vault: Vault, say: Say) -> None:
    """Seal everything with the present key, then leave only that one in its file."""
    with as_owner():
        changed, lost = actions.reseal_everything()
        # A process of before may have written in between.
        while (more := actions.reseal_everything())[0]:
            changed += more[0]
    say(f"{changed} sealed texts were sealed anew." + (f" No key opens {lost}: they are as they were." if lost else ""))
    keys = vault.read("SECRET_KEY").splitlines()
    if len(keys) > 1:
        vault.stage("SECRET_KEY", keys[0])
        vault.publish("SECRET_KEY")
    if vault.environ.get("SEALING_KEY_FALLBACKS"):
        say("Take SEALING_KEY_FALLBACKS out of the environment: nothing is sealed with those keys any more.")


def _role(url: str) -> str:
    return urlsplit(url).username or ""


def _server(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def takes(url: str) -> bool:
    """Tell whether the database lets one in by a URL."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    """Set a password by its SCRAM verifier: the password itself reaches neither the server nor its log."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    # rule: raw-sql (a name and a literal, quoted: PostgreSQL takes no parameters here)
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier)))


def end_connections(url: str) -> None:
    """Sign in with a URL and end all other connections of its account, whoever made them."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        )


def end_soon(url: str) -> bool:
    """End an account's connections to a copy of the database once that knows the new password; tell whether it was done."""
    deadline = time.monotonic() + _LEARNS_SECONDS
    while True:
        try:
            end_connections(url)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        else:
            return True


def chosen(vault: Vault, only: list[str], given: Mapping[str, str]) -> list[str]:
    """Return the keys of the secrets to replace, in the catalogue's order. Raises `NoPlace` with what stands against it."""
    there = here(vault)
    wanted = [
        secret for secret in there
        if (secret.key in only if only else True)
        and (made_without_help(secret, vault) or any(name in given for name in secret.variables))
    ]  # fmt: skip
    for key in only:
        if key not in [secret.key for secret in wanted]:
            hint = "; give its new value with --new" if key in [secret.key for secret in there] else ": there is none"
            raise NoPlace(f"{key} can't be replaced{hint}.")
    for name in given:
        if name not in [variable for secret in wanted for variable in secret.variables]:
            raise NoPlace(f"{name} isn't used here, or not named in --only ({BY_VARIABLE[name].key}).")
    return [secret.key for secret in wanted]
