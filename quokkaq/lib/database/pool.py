"""What happens to a connection on its way back to the pool."""

from typing import Any

# For whom a connection works; each `{local}` says whether for the transaction only.
SET = ", ".join(f"set_config('quokkaq.{name}', %s, {{local}})" for name in ("institution", "person", "session"))


def forget(connection: Any) -> None:
    """Tell a connection that it works for nobody, before the pool gives it to somebody else."""
    # rule: raw-sql (a constant)
    connection.execute(f"SELECT {SET.format(local='false')}", ["", "", ""])
