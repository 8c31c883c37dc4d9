"""Sessions in the database, of which each is shown only to who brings its key."""

from datetime import datetime
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from quokkaq.lib import tenancy
from quokkaq.lib.database.prepared import Prepared


def _session(key: str, now: datetime) -> Any:
    return SessionStore.get_model_class().objects.filter(session_key=key, expire_date__gt=now)


_SESSION = Prepared[Any](_session)


class Walled(SessionStore):
    """Reaches for one row at a time, and lets row-level security know which."""

    def _get_session_from_db(self) -> Any:
        """Return the row of this session, or begin anew without a key. One statement, which every page begins with."""
        with tenancy.session(self.session_key or ""):
            found = _SESSION(key=self.session_key or "", now=timezone.now()).first()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        with tenancy.session(session_key):
            return super().exists(session_key)

    def save(self, must_create: bool = False) -> None:
        """Write the row of this session. A database that is away is said as that, not as a session that has ended: what was
        done before is done, and nobody should be told that they asked for something impossible."""
        try:
            with tenancy.session(self.session_key or ""):  # without one it makes one, and saves that
                super().save(must_create=must_create)
        except UpdateError as error:
            if isinstance(error.__context__, OperationalError | InterfaceError):
                raise error.__context__ from None
            raise

    def delete(self, session_key: str | None = None) -> None:
        with tenancy.session(session_key or self.session_key or ""):
            super().delete(session_key)
