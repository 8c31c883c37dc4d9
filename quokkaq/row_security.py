"""Row-level security: the second wall between institutions, in the database itself.

`manage.py migrate` ends with `secure()`: every table with an institution gets a policy that shows the web role the rows
of the institution in force and no others. What has no institution of its own follows a row that has, or stands in
`SHARED` with its reason.
"""

import hashlib
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from psycopg import sql

_USER = "EXISTS (SELECT 1 FROM accounts_user u WHERE u.id = {table}.{column})"

# Tables whose rows follow somebody's: which are shown is decided by whether that row is.
FOLLOWS: dict[str, str] = {
    "accounts_user_groups": _USER.format(table="accounts_user_groups", column="user_id"),
    "accounts_user_user_permissions": _USER.format(table="accounts_user_user_permissions", column="user_id"),
    "account_emailaddress": _USER.format(table="account_emailaddress", column="user_id"),
    "account_emailconfirmation": (
        "EXISTS (SELECT 1 FROM account_emailaddress a WHERE a.id = account_emailconfirmation.email_address_id)"
    ),
    "mfa_authenticator": _USER.format(table="mfa_authenticator", column="user_id"),
    "usersessions_usersession": _USER.format(table="usersessions_usersession", column="user_id"),
    "socialaccount_socialaccount": _USER.format(table="socialaccount_socialaccount", column="user_id"),
    "socialaccount_socialtoken": (
        "EXISTS (SELECT 1 FROM socialaccount_socialaccount a WHERE a.id = socialaccount_socialtoken.account_id)"
    ),
    "django_admin_log": _USER.format(table="django_admin_log", column="user_id"),
}
# Tables with rules of their own: (which rows are shown, which may be written).
OWN: dict[str, tuple[str, str]] = {
    # Operators see what institutions there are, and add them.
    "accounts_institution": (
        "id = (SELECT quokkaq_institution()) OR (SELECT is_superuser FROM accounts_user WHERE id = quokkaq_person())",
        "id = (SELECT quokkaq_institution()) OR (SELECT is_superuser FROM accounts_user WHERE id = quokkaq_person())",
    ),
    # Oneself, also while an operator looks into another institution.
    "accounts_user": (
        "institution_id = (SELECT quokkaq_institution()) OR id = (SELECT quokkaq_person())",
        "institution_id = (SELECT quokkaq_institution()) OR id = (SELECT quokkaq_person())",
    ),
    # Who brings its key sees a session: nobody else, not even within the institution.
    "django_session": ("session_key = current_setting('quokkaq.session', true)", "true"),
}
# Tables without rows of anybody: why they need no wall.
SHARED: dict[str, str] = {
    "django_migrations": "which migrations ran",
    "django_content_type": "names of tables",
    "auth_permission": "names of rights",
    "auth_group": "names of groups of rights",
    "auth_group_permissions": "which rights a group has",
    "socialaccount_socialapp": "nothing: providers are kept as accounts.IdentityProvider",
    "accounts_ratecount": "how often something was tried, under keyed hashes of by whom",
    "accounts_passingratecount": "how often something was tried, under keyed hashes of by whom",
    "quokkaq_jobfailure": "why jobs failed: classes and places of errors, without what people wrote",
    "quokkaq_operation": "when a backup was made and a restore rehearsed",
    "quokkaq_restoredrill": "how rehearsals of restoring went: names of tables and steps, counts and seconds",
    "procrastinate_jobs": "names of tasks and keys of rows, which open nothing by themselves",
    "procrastinate_events": "when a job changed its state",
    "procrastinate_periodic_defers": "when a periodic task ran",
    "procrastinate_workers": "when a worker was last heard of",
}
# What the web role may delete of what nobody may change.
PURGES = (
    "accounts_purge_audit(uuid, timestamptz, integer)",
    "accounts_purge_sessions(timestamptz, integer)",
)
# Functions that an index is searched with below a policy; PostgreSQL takes none that could tell of rows it hides. These
# two compare, and say nothing of what they compare in any error.
INDEXED = ("ts_match_vq(tsvector, tsquery)", "ts_match_qv(tsquery, tsvector)")


def rule_of(table: str, columns: set[str]) -> tuple[str, str] | None:
    """Return which rows of a table are shown and which may be written; None for a shared table. Raises `LookupError`."""
    if table in OWN:
        shown, written = OWN[table]
    elif table in FOLLOWS:
        shown = written = FOLLOWS[table]
    elif "institution_id" in columns:
        shown = written = "institution_id = (SELECT quokkaq_institution())"
    elif table in SHARED:
        return None
    else:
        raise LookupError(f"{table} has no institution: say in quokkaq/row_security.py whose rows it holds.")
    every = "(SELECT quokkaq_everything())"
    return f"{shown} OR {every}", "true" if written == "true" else f"{written} OR {every}"


def tables(cursor: Any) -> dict[str, set[str]]:
    """Return the columns of each table."""
    cursor.execute(
        "SELECT c.relname, array_agg(a.attname::text) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0"
        " AND NOT a.attisdropped AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
        " GROUP BY c.relname ORDER BY c.relname"
    )
    return {name: set(columns) for name, columns in cursor.fetchall()}


def fallen(cursor: Any) -> list[str]:
    """Return the tables whose wall isn't the one that `secure` sets, or doesn't stand."""
    wrong = []
    for table, columns in tables(cursor).items():
        rule = rule_of(table, columns)
        if rule is not None and not _stands(cursor, table, rule):
            wrong.append(table)
    return wrong


def walled(cursor: Any) -> list[str]:
    """Return the tables whose rows not everybody sees."""
    return [table for table, columns in tables(cursor).items() if rule_of(table, columns) is not None]


def secure(connection: Any) -> list[str]:
    """Bring role, rights and policies in line with the tables; return the tables that changed. Run it as their owner.

    Only what differs is touched, so that a release locks no table it needn't.
    """
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if not _there(cursor, "quokkaq_everything()"):
            return []  # taken back to before there was a wall
        _ensure_role(cursor)
        changed = [
            table
            for table, columns in tables(cursor).items()
            if _secure(cursor, table, rule_of(table, columns), own="institution_id" in columns)
        ]
    _let_indexes_be_used(connection)
    return changed


# unique_violation, duplicate_object
_MADE_ALREADY = ("23505", "42710")


def _ensure_role(cursor: Any) -> None:
    """Make the web role if it is missing, and let it read and write rows."""
    role, owner = settings.DATABASE_WEB_ROLE, _one(cursor, "SELECT current_user::text")
    if role == owner:
        return
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('quokkaq.role'))")
    if not _one(cursor, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
        made = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE").format(
            sql.Identifier(role)
        )
        if settings.DATABASE_WEB_PASSWORD:
            made += sql.SQL(" PASSWORD {}").format(sql.Literal(settings.DATABASE_WEB_PASSWORD))
        try:
            with transaction.atomic(using=cursor.db.alias):
                # rule: raw-sql (names of our own tables and roles, quoted)
                cursor.execute(made)
        except DatabaseError as error:
            # Roles belong to the whole server, locks to one database: another one made it meanwhile.
            if getattr(error.__cause__, "sqlstate", "") not in _MADE_ALREADY:
                raise
    name = sql.Identifier(role)
    if settings.DATABASE_BEHIND_PGBOUNCER:
        # Connections that PgBouncer opens bring no settings of ours.
        for parameter, milliseconds in settings.TIMEOUTS_MS.items():
            # rule: raw-sql (names and numbers of ours, quoted)
            cursor.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(parameter), sql.Literal(milliseconds))
            )
    for grant in (
        "GRANT USAGE ON SCHEMA public TO {}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}",
        "REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {}",
        *(f"GRANT EXECUTE ON FUNCTION {purge} TO {{}}" for purge in PURGES if _there(cursor, purge)),
    ):
        # rule: raw-sql (names of our own tables and roles, quoted)
        cursor.execute(sql.SQL(grant).format(name))


def _secure(cursor: Any, table: str, rule: tuple[str, str] | None, *, own: bool) -> bool:
    """Set the policy of a table and, when it has its own institution, that column's default."""
    if rule is None or _stands(cursor, table, rule):
        return False
    mark = _mark(rule)
    name = sql.Identifier(table)
    for statement in (
        sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").format(name),
        sql.SQL("DROP POLICY IF EXISTS tenancy ON {}").format(name),
        sql.SQL("CREATE POLICY tenancy ON {} USING ({}) WITH CHECK ({})").format(
            name, sql.SQL(rule[0]), sql.SQL(rule[1])
        ),
        sql.SQL("COMMENT ON POLICY tenancy ON {} IS {}").format(name, sql.Literal(mark)),
    ):
        # rule: raw-sql (names of our own tables and roles, quoted)
        cursor.execute(statement)
    if own:
        default = "ALTER TABLE {} ALTER institution_id SET DEFAULT quokkaq_institution()"
        # rule: raw-sql (names of our own tables and roles, quoted)
        cursor.execute(sql.SQL(default).format(name))
    return True


def _mark(rule: tuple[str, str]) -> str:
    return hashlib.sha256(repr(rule).encode()).hexdigest()[:16]


def _stands(cursor: Any, table: str, rule: tuple[str, str]) -> bool:
    cursor.execute(
        "SELECT c.relrowsecurity AND c.relforcerowsecurity, obj_description(p.oid, 'pg_policy') FROM pg_class c"
        " LEFT JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'tenancy'"
        " WHERE c.oid = %s::regclass",
        [f'public."{table}"'],
    )
    on, known = cursor.fetchone()
    return bool(on and known == _mark(rule))


def _let_indexes_be_used(connection: Any) -> None:
    """Let full-text indexes be used below the policies. Takes a superuser; without one, search reads whole courses."""
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            for function in INDEXED:
                if not _one(cursor, "SELECT proleakproof FROM pg_proc WHERE oid = %s::regprocedure", function):
                    # rule: raw-sql (names of our own tables and roles, quoted)
                    cursor.execute(f"ALTER FUNCTION pg_catalog.{function} LEAKPROOF")
    except DatabaseError:
        return


def indexes_are_used(cursor: Any) -> bool:
    """Tell whether full-text indexes can be used below the policies."""
    return all(_one(cursor, "SELECT proleakproof FROM pg_proc WHERE oid = %s::regprocedure", name) for name in INDEXED)


def _there(cursor: Any, function: str) -> bool:
    return bool(_one(cursor, "SELECT to_regprocedure(%s)", function))


def _one(cursor: Any, query: str, *values: Any) -> Any:
    # rule: raw-sql (names of our own tables and roles, quoted)
    cursor.execute(query, values)
    row = cursor.fetchone()
    return row[0] if row else None
