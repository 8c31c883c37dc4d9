"""Typed settings from the environment, and plain sentences when one is missing or weak.

A secret may also come from a file: `NAME_FILE=/run/secrets/name` is read when `NAME` isn't set.
"""

import os
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

MIN_SECRET_LENGTH = 50


class Mode(StrEnum):
    """What this process is run for. Anything not said to be something else is production."""

    DEMO = "demo"
    DEVELOPMENT = "development"
    TEST = "test"
    PRODUCTION = "production"


class Environment:
    """Reads variables, remembers what is wrong with them, and says it all at once in `complain()`."""

    def __init__(self, base: Path) -> None:
        self.read = environ.Env()
        if (base / ".env").exists():
            environ.Env.read_env(base / ".env", overwrite=False)
        self.problems: list[str] = []
        name = os.environ.get("QUOKKAQ_MODE", Mode.PRODUCTION)
        try:
            self.mode = Mode(name)
        except ValueError:
            raise ImproperlyConfigured(
                f"QUOKKAQ_MODE is {name!r}. Set it to one of: {', '.join(Mode)} (production when unset)."
            ) from None

    @property
    def production(self) -> bool:
        return self.mode is Mode.PRODUCTION

    def text(self, name: str, default: str = "") -> str:
        return str(self.read.str(name, default=default)).strip()

    def number(self, name: str, default: int, *, least: int = 0) -> int:
        """Return a whole number, at least `least`."""
        raw = self.text(name, str(default))
        try:
            value = int(raw)
        except ValueError:
            self.problems.append(f"{name} is {raw!r}. Set it to a whole number (default {default}).")
            return default
        if value < least:
            self.problems.append(f"{name} is {value}. Set it to {least} or more (default {default}).")
            return default
        return value

    def fraction(self, name: str, default: float) -> float:
        """Return a number from 0 to 1."""
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            value = -1
        if not 0 <= value <= 1:
            self.problems.append(f"{name} is {raw!r}. Set it to a number from 0 to 1 (default {default:g}).")
            return default
        return value

    def url(self, name: str) -> str:
        """Return an http(s) address without its last slash, or nothing."""
        value = self.text(name).rstrip("/")
        try:
            parts = urlsplit(value)
            ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            ok = False
        if value and not ok:
            self.problems.append(f"{name} is no address. Set it to one that begins with https:// or http://")
            return ""
        return value

    def yes(self, name: str, *, default: bool) -> bool:
        """Return a yes/no variable (`1`, `true`, `yes`, `on` mean yes)."""
        return bool(self.read.bool(name, default=default))

    def items(self, name: str) -> list[str]:
        """Return a comma-separated list without empty items."""
        return [item.strip() for item in self.text(name).split(",") if item.strip()]

    def networks(self, name: str) -> list[str]:
        """Return a comma-separated list of networks or addresses, such as `10.0.0.0/8`."""
        found = self.items(name)
        for item in found:
            try:
                ip_network(item, strict=False)
            except ValueError:
                self.problems.append(f"{name} has {item!r}. Set it to networks, separated by commas: 10.0.0.0/8")
        return found

    def secret(self, name: str, *, default: str = "") -> str:
        """Return a secret from `name`, or from the file that `name`_FILE points at."""
        value = self.text(name)
        file = self.text(f"{name}_FILE")
        if not value and file:
            try:
                value = Path(file).read_text(encoding="utf-8").strip()
            except OSError as error:
                self.problems.append(f"{name}_FILE can't be read ({error.strerror}). Point it at a readable file.")
        return value or default

    def require(self, name: str, value: object, sentence: str) -> None:
        """In production, note a problem when `value` is empty."""
        if self.production and not value:
            self.problems.append(f"{name} is not set. {sentence}")

    def require_strong(self, name: str, value: str) -> None:
        """In production, note a problem when a secret could be guessed."""
        self.require(name, value, f"Set {name} (or {name}_FILE) to {MIN_SECRET_LENGTH} or more random characters.")
        if not (self.production and value):
            return
        if len(value) < MIN_SECRET_LENGTH or len(set(value)) < 10 or value.startswith(("django-insecure", "demo-")):
            self.problems.append(
                f"{name} is too weak. Set it to {MIN_SECRET_LENGTH} or more random characters, for example from "
                "`python -c 'import secrets; print(secrets.token_urlsafe(64))'`."
            )

    def complain(self) -> None:
        """Stop the start with every problem found. Values of secrets are never shown."""
        if not self.problems:
            return
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        hint = "\n.env.example explains every variable. To try QuokkaQ on this machine, run `make run`."
        raise ImproperlyConfigured(f"QuokkaQ can't start in {self.mode} mode:\n{lines}{hint}")
