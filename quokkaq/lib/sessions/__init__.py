"""Sessions in the database, of which each is shown only to who brings its key."""

from typing import Any

from django.contrib.sessions.backends.db import SessionStore

from quokkaq.lib import tenancy


class Walled(SessionStore):
    """Reaches for one row at a time, and lets row-level security know which."""

    def _get_session_from_db(self) -> Any:
        with tenancy.session(self.session_key or ""):
            return super()._get_session_from_db()  # type: ignore[misc]  # no stub

    def exists(self, session_key: str) -> bool:
        with tenancy.session(session_key):
            return super().exists(session_key)

    def save(self, must_create: bool = False) -> None:
        with tenancy.session(self.session_key or ""):  # without one it makes one, and saves that
            super().save(must_create=must_create)

    def delete(self, session_key: str | None = None) -> None:
        with tenancy.session(session_key or self.session_key or ""):
            super().delete(session_key)
