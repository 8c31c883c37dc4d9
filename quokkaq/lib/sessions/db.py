"""Sessions in the database."""

from quokkaq.lib.sessions import Walled


class SessionStore(Walled):
    """One row each."""
