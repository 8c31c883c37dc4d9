"""What happens to a connection on its way out of the pool, and how a pool comes back after its server was away."""

from typing import Any

from psycopg_pool.base import AttemptWithBackoff

# psycopg_pool waits for a second before it looks again whether the server is back, then for two, four, eight …: after a
# minute's outage half a minute would be lost, and after a restart a request would spend its whole wait on three dead
# connections. It looks ten times a second instead, give or take half of that so that processes don't all come at once,
# and only as long as somebody waits. tests/services/test_pool.py proves that the library still goes by these.
AttemptWithBackoff.INITIAL_DELAY = 0.1
AttemptWithBackoff.DELAY_BACKOFF = 1.0
AttemptWithBackoff.DELAY_JITTER = 0.5

# For whom a connection works; each `{local}` says whether for the transaction only.
SET = ", ".join(f"set_config('quokkaq.{name}', %s, {{local}})" for name in ("institution", "person", "session"))


def forget(connection: Any) -> None:
    """Tell a connection that it works for nobody, before the pool gives it to somebody; that it answers shows that it lives.

    On the way out, not on the way in: one round trip for both, and none in a thread of the pool's after each request.
    """
    # rule: raw-sql (a constant)
    connection.execute(f"SELECT {SET.format(local='false')}", ["", "", ""])
