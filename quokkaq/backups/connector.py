"""django-dbbackup's connector for `pg_dump`, which hands the dump on while it is made, of one snapshot."""

from dbbackup.db.postgresql import PgDumpBinaryConnector


class Connector(PgDumpBinaryConnector):  # type: ignore[misc]
    """Like its base, and `streaming`."""
