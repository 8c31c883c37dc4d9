"""Rules for migrations beside a site in use, for each one that is newer than `BASELINE`: `python -m ops.rules.migrations`.

The SQL that a migration would run is read by squawk, which knows PostgreSQL's locks; the rules of our own are about what
stands in one transaction, and about code of the last release (`ops/releases`) that still works on the schema for a while.
A migration that breaks a rule for a reason says so anywhere in its file: `# rule: NAME (the reason)`. A remark that
excuses nothing is reported as well. Each rule is proven in tests/quokkaq/test_migration_rules.py; why squawk:
docs/adr/0024-a-linter-for-migrations.md; how to write one that locks nothing: CONTRIBUTING.md.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ops.rules.security import EXCUSE, ROOT, Finding

# The last migration of each app that was there before the rules.
BASELINE = {
    "accounts": "0011_sign_in",
    "forum": "0014_tenancy",
    "ai_answers": "0010_what_operators_see",
    "quokkaq": "0002_job_failure",
}

# Rules of squawk, and what to do instead. Its others are about style.
SQUAWK = {
    "adding-field-with-default": "Every row is written anew. Add the column empty, fill it in batches, then set the default.",
    "adding-required-field": "Rows that are there have no value for it. Give it a db_default, or let it be null.",
    "adding-not-nullable-field": "The whole table is read under a lock. Add a check NOT VALID, validate it in a migration of its own, then say NOT NULL.",
    "adding-foreign-key-constraint": "Both tables are locked while every row is looked up. Add it NOT VALID, and validate it in a migration of its own.",
    "constraint-missing-not-valid": "The whole table is read under a lock. AddConstraintNotValid here, ValidateConstraint in a migration of its own.",
    "disallowed-unique-constraint": "Nobody reads or writes while its index is built. Use AddUniqueConcurrently of quokkaq.lib.database.operations.",
    "adding-exclusion-constraint": "Nobody reads or writes while its index is built. Say how that is borne.",
    "adding-serial-primary-key-field": "Every row is written anew.",
    "require-concurrent-index-creation": "Nobody writes while it is built. Use AddIndexConcurrently of quokkaq.lib.database.operations (db_index=False for a key).",
    "require-concurrent-index-deletion": "Use RemoveIndexConcurrently of quokkaq.lib.database.operations.",
    "ban-concurrent-index-creation-in-transaction": "Set atomic = False.",
    "changing-column-type": "Every row is written anew, and code of the last release expects the old type. Add a new column.",
    "renaming-column": "Code of the last release asks for the old name. Keep it (db_column), or add a new one and fill it.",
    "renaming-table": "Code of the last release asks for the old name. Keep it (db_table).",
    "ban-drop-column": "Code of the last release still uses it. Take it from the models in one release, drop it in the next.",
    "ban-drop-table": "Code of the last release still uses it. Take the model away in one release, drop its table in the next.",
    "ban-drop-default": "Code of the last release gives it no value, and writing fails. Use db_default.",
    "ban-truncate-cascade": "This empties other tables, too.",
    "syntax-error": "PostgreSQL doesn't take this.",
}  # fmt: skip
OURS = {
    "two-tables": "Locks of several tables are held at once: two that wait for each other. One table for each migration.",
    "data-beside-schema": "The lock of the change is held while rows are written. Fill them in a migration of its own.",
    "not-rerunnable": "Outside a transaction a killed run leaves the half. One operation, of quokkaq.lib.database.operations or one that may run twice.",
    "whole-table-lock": "Nobody reads or writes meanwhile.",
    "unreadable": "Its SQL can't be shown beforehand. Say how its locks were checked.",
}  # fmt: skip

_TABLE = r'(?:ONLY\s+)?(?:IF\s+EXISTS\s+)?(?:public\.)?"?(\w+)"?'
_TOUCHES = re.compile(
    rf"\bALTER\s+TABLE\s+{_TABLE}|\bCREATE\s+(?:UNIQUE\s+)?INDEX\b[^;]*?\bON\s+{_TABLE}"
    rf"|\b(?:CREATE|DROP)\s+(?:CONSTRAINT\s+)?TRIGGER\b[^;]*?\bON\s+{_TABLE}|\bLOCK\s+(?:TABLE\s+)?{_TABLE}"
    rf"|\bDROP\s+TABLE\s+{_TABLE}",
    re.IGNORECASE,
)
_CREATES = re.compile(r'\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:public\.)?"?(\w+)"?', re.IGNORECASE)
_WRITES = re.compile(r"(?:^|;)\s*(?:WITH\b[^;]*?\)\s*)?(?:UPDATE|DELETE\s+FROM|INSERT\s+INTO)\b", re.IGNORECASE)
_LOCKS = re.compile(r"(?:^|;)\s*(?:LOCK|CLUSTER|VACUUM\s+FULL|REINDEX(?!\s+\w+\s+CONCURRENTLY))\b", re.IGNORECASE)
_NULLABLE_KEY = re.compile(r"\bADD\s+COLUMN\b(?!.*\bDEFAULT\b).*\bNULL\b.*\bREFERENCES\b", re.IGNORECASE | re.DOTALL)
_TIME = re.compile(r"\bDEFAULT\s+\(?(?:STATEMENT_TIMESTAMP|CURRENT_TIMESTAMP|now)\b", re.IGNORECASE)
_NOT_NULL = re.compile(r"\bNOT\s+NULL\b", re.IGNORECASE)
_TYPE = re.compile(r'ALTER TABLE "(\w+)" ALTER COLUMN "(\w+)" TYPE')
_DROP_COLUMN = re.compile(
    rf'\bALTER\s+TABLE\s+{_TABLE}\s+DROP\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?"?(\w+)"?', re.IGNORECASE
)
_DROP_TABLE = re.compile(rf"\bDROP\s+TABLE\s+{_TABLE}", re.IGNORECASE)

Used = Collection[tuple[str, str]]


def plain(sql: str) -> str:
    """Return SQL without comments and bodies of functions."""
    sql = re.sub(r"--[^\n]*", "", sql)
    return re.sub(r"\$(\w*)\$.*?\$\1\$", "''", sql, flags=re.DOTALL).strip()


def squawk(sql: str) -> list[tuple[str, str]]:
    """Return what squawk says to SQL: the rule, and the statement that it is about."""
    done = subprocess.run(  # nosec B603
        [Path(sys.executable).parent / "squawk", "--reporter", "json", "--pg-version", "15.0", "--stdin-filepath", "migration.sql"],
        input=sql, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"squawk failed: {done.stderr[-500:]}")
    lines = sql.split("\n")
    return [
        (found["rule_name"], "\n".join(lines[found["line"] : found["line_end"] + 1]))
        for found in json.loads(done.stdout)
    ]


def render(migration: Any, state: Any, connection: Any) -> str:
    """Return the SQL that a migration would run, and bring `state` to what is after it."""
    with connection.schema_editor(collect_sql=True, atomic=migration.atomic) as editor:
        migration.apply(state, editor, collect_sql=True)
    # A statement without parameters may hold several; what can't be shown is a comment.
    sql = "\n".join(editor.collected_sql)
    return f"BEGIN;\n{sql}\nCOMMIT;\n" if migration.atomic else f"{sql}\n"


def widened(migration: Any, before: Any, after: Any) -> set[tuple[str, str]]:
    """Return the columns of text that may only be longer now, which costs nothing: table and column."""
    found = set()
    for operation in migration.operations:
        if type(operation).__name__ != "AlterField":
            continue
        key = migration.app_label, operation.model_name_lower
        if key not in before.models or key not in after.models:
            continue
        old, new = (state.apps.get_model(*key)._meta.get_field(operation.name) for state in (before, after))
        text = ("CharField", "TextField", "SlugField", "EmailField", "URLField")
        kinds = {old.get_internal_type(), new.get_internal_type()}
        longer = new.get_internal_type() == "TextField" or (new.max_length or 0) >= (old.max_length or sys.maxsize)
        if kinds <= set(text) and longer:
            found.add((new.model._meta.db_table, new.column))
    return found


def _operations(migration: Any) -> list[Any]:
    """Return the operations that touch the database."""
    found: list[Any] = []
    for operation in migration.operations:
        inner = getattr(operation, "database_operations", None)
        found += [operation] if inner is None else inner
    return found


def look_into(
    migration: Any, state: Any, connection: Any, *, text: str = "", path: str = "migration.py", used: Used = ()
) -> list[Finding]:
    """Return what breaks a rule in one migration, and remarks that excuse nothing.

    Args:
        state: the project before it.
        text: its file.
        used: tables and columns that code of the last release uses.
    """
    before = state.clone()
    try:
        sql = render(migration, state, connection)
    except Exception as error:
        rules = {"unreadable": f"{OURS['unreadable']} ({type(error).__name__}: {error})"}
        return _excused(rules, text, path)
    rules = {name: OURS[name] for name in _ours(migration, plain(sql))}
    longer = widened(migration, before, state)
    for name, statement in squawk(sql):
        if name in SQUAWK and not _is_harmless(name, plain(statement), longer, used):
            rules.setdefault(name, SQUAWK[name])
    return _excused(rules, text, path)


def _ours(migration: Any, sql: str) -> set[str]:
    found = set()
    operations = _operations(migration)
    named = {type(operation).__name__ for operation in operations}
    made = {name.lower() for name in _CREATES.findall(sql)}
    touched = {name.lower() for match in _TOUCHES.findall(sql) for name in match if name} - made
    if len(touched) > 1:
        found.add("two-tables")
    changes_schema = bool(touched or made)
    if migration.atomic and changes_schema and ("RunPython" in named or _WRITES.search(sql)):
        found.add("data-beside-schema")
    concurrent = ("AddIndexConcurrently", "RemoveIndexConcurrently")
    foreign = any(
        type(operation).__name__ in concurrent and type(operation).__module__.startswith("django.")
        for operation in operations
    )
    if foreign or (not migration.atomic and len(operations) > 1):
        found.add("not-rerunnable")
    if _LOCKS.search(sql):
        found.add("whole-table-lock")
    return found


def _is_harmless(rule: str, statement: str, longer: set[tuple[str, str]], used: Used) -> bool:
    """Tell whether squawk is stricter here than need be."""
    if rule == "adding-foreign-key-constraint":
        # An empty column has nothing that would have to be looked up.
        return bool(_NULLABLE_KEY.search(statement)) and not _NOT_NULL.search(statement)
    if rule == "adding-field-with-default":
        # The time is the same for all rows of a statement.
        return bool(_TIME.search(statement))
    if rule == "changing-column-type":
        return bool(longer) and set(_TYPE.findall(statement)) <= longer
    if rule == "ban-drop-column":
        dropped = {(table.lower(), column.lower()) for table, column in _DROP_COLUMN.findall(statement)}
        return bool(dropped) and not dropped & set(used)
    if rule == "ban-drop-table":
        tables = {name.lower() for name in _DROP_TABLE.findall(statement)}
        return bool(tables) and not tables & {table for table, _ in used}
    return False


def _excused(rules: dict[str, str], text: str, path: str) -> list[Finding]:
    excuses = {
        match.group(1): number for number, line in enumerate(text.split("\n"), 1) for match in EXCUSE.finditer(line)
    }
    left = [Finding(path, 1, name, sentence) for name, sentence in sorted(rules.items()) if name not in excuses]
    idle = [
        Finding(path, line, name, "This remark excuses nothing.") for name, line in excuses.items() if name not in rules
    ]
    return left + idle


def newer(loader: Any) -> list[tuple[str, str]]:
    """Return the migrations of our apps that are newer than the baseline."""
    old = {key for leaf in BASELINE.items() for key in loader.graph.forwards_plan(leaf)}
    return [
        key
        for key in loader.graph._generate_plan(loader.graph.leaf_nodes(), True)
        if key[0] in BASELINE and key not in old
    ]


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
    import django

    django.setup()
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    from ops.releases.record import used_by_last_release

    loader = MigrationLoader(None)
    found: list[Finding] = []
    keys = newer(loader)
    for key in keys:
        migration = loader.graph.nodes[key]
        path = Path(sys.modules[migration.__module__].__file__ or "")
        found += look_into(
            migration, loader.project_state(key, at_end=False), connection, text=path.read_text(encoding="utf-8"),
            path=str(path.relative_to(ROOT)), used=used_by_last_release(),
        )  # fmt: skip
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
