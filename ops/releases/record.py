"""What the code of a release needs of the schema, kept in `ops/releases/VERSION.json`: `python -m ops.releases.record`.

While hosts are replaced, code of the last release works on the schema of the next. So what that code reads and writes
stays for one release: its tables and columns with their types, new columns that can be left out when a row is written,
and every word of an enumeration that it writes. Run it on a migrated database when a release is made:

    python -m ops.releases.record [--commit REF]

REF is the commit of the release, by default the one that is checked out; its models and migrations must be these.
tests/quokkaq/test_last_release.py holds the schema of today against the newest record.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
OURS = ("accounts", "forum", "ai_answers", "quokkaq")
# Sentences of `breaks()` that are known and meant, each with its reason.
ACCEPTED: dict[str, str] = {}

Record = dict[str, Any]


def last_release() -> Record:
    """Return the newest record."""
    newest = max(FOLDER.glob("*.json"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.stem)])
    found: Record = json.loads(newest.read_text(encoding="utf-8"))
    return found


def used_by_last_release() -> set[tuple[str, str]]:
    """Return the tables and columns that code of the last release reads and writes."""
    return {(table, column) for table, of in last_release()["tables"].items() for column in of["columns"]}


def schema(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return of each table its columns (type, null, default), its unique indexes and its checks, without their names."""
    found: dict[str, dict[str, Any]] = {}
    cursor.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,"
        " CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN a.attidentity <> '' THEN 'identity'"
        " ELSE pg_get_expr(d.adbin, d.adrelid) END"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.relname, a.attname"
    )
    for table, column, kind, null, default in cursor.fetchall():
        of = found.setdefault(table, {"columns": {}, "unique": [], "checks": []})
        of["columns"][column] = {"type": kind, "null": null, "default": default}
    cursor.execute(
        "SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique ORDER BY 1, 2"
    )
    for table, definition in cursor.fetchall():
        found[table]["unique"].append(definition.partition(" USING ")[2])
    cursor.execute(
        "SELECT c.relname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND k.contype = 'c' ORDER BY 1, 2"
    )
    for table, definition in cursor.fetchall():
        found[table]["checks"].append(definition.removesuffix(" NOT VALID"))
    for of in found.values():
        of["unique"].sort()
        of["checks"].sort()
    return found


def needed(cursor: Any) -> dict[str, dict[str, Any]]:
    """Return what this code needs: of the schema, what its models have, with the words of their enumerations."""
    from django.apps import apps

    there = schema(cursor)
    found: dict[str, dict[str, Any]] = {}
    for model in apps.get_models(include_auto_created=True):
        table = model._meta.db_table
        if model._meta.proxy or table not in there:
            continue
        of = found.setdefault(
            table, {"columns": {}, "unique": there[table]["unique"], "checks": there[table]["checks"]}
        )
        for field in model._meta.local_concrete_fields:
            column = dict(there[table]["columns"][field.column])
            words = [value for value, _ in field.flatchoices if isinstance(value, str)]
            of["columns"][field.column] = column | ({"words": words} if words else {})
    return dict(sorted(found.items()))


def breaks(record: Record, cursor: Any) -> list[str]:
    """Return what of the schema would break code of a recorded release, a sentence each."""
    there = schema(cursor)
    found: list[str] = []
    for table, old in record["tables"].items():
        if table not in there:
            found.append(f"{table} is gone.")
            continue
        new = there[table]
        for column, was in old["columns"].items():
            found += _column(f"{table}.{column}", was, new["columns"].get(column))
        found += [
            f"{table}.{column} is new and must have a value that old code doesn't give."
            for column, now in new["columns"].items()
            if column not in old["columns"] and not now["null"] and now["default"] is None
        ]
        fresh = set(new["columns"]) - set(old["columns"])
        known = {"unique": set(old["unique"]), "checks": set(old["checks"])}
        for kind, what in (("unique", "unique index"), ("checks", "check")):
            for definition in new[kind]:
                if definition in known[kind] or fresh & set(re.findall(r"\w+", definition)):
                    continue
                if kind == "checks" and _is_of_words(definition, old["columns"]):
                    continue  # its words are tried below
                found.append(f"{table} has a new {what} that old code knows nothing of: {definition}")
        found += _words(cursor, table, old["columns"], new["columns"])
    return [sentence for sentence in found if sentence not in ACCEPTED]


def _column(name: str, was: dict[str, Any], now: dict[str, Any] | None) -> list[str]:
    if now is None:
        return [f"{name} is gone."]
    found = []
    if now["type"] != was["type"] and not _is_longer(was["type"], now["type"]):
        found.append(f"{name} was {was['type']} and is {now['type']}.")
    if was["null"] and not now["null"]:
        found.append(f"{name} could be null and must have a value.")
    if was["default"] is not None and now["default"] is None and not now["null"]:
        found.append(f"{name} has lost its default.")
    if (was["default"] == "generated") != (now["default"] == "generated"):
        found.append(f"{name} is written by {'the database' if now['default'] == 'generated' else 'code'} now.")
    return found


def _is_longer(was: str, now: str) -> bool:
    """Tell whether a text may only be longer."""
    limits = [re.fullmatch(r"character varying\((\d+)\)|text", kind) for kind in (was, now)]
    if not all(limits):
        return False
    old, new = (int(limit.group(1) or sys.maxsize) for limit in limits if limit)
    return new >= old


def _is_of_words(definition: str, columns: dict[str, dict[str, Any]]) -> bool:
    used = set(re.findall(r"\w+", definition)) & set(columns)
    return len(used) == 1 and "words" in columns[used.pop()]


def _words(cursor: Any, table: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Try every word that old code writes on the checks of its column."""
    cursor.execute(
        "SELECT a.attname, pg_get_expr(k.conbin, k.conrelid) FROM pg_constraint k"
        " JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]"
        " WHERE k.conrelid = %s::regclass AND k.contype = 'c' AND cardinality(k.conkey) = 1",
        [f'public."{table}"'],
    )
    found = []
    for column, check in cursor.fetchall():
        words = old.get(column, {}).get("words")
        if not words:
            continue
        cursor.execute(
            # Names and checks of our own tables, out of the catalogue.
            f'SELECT "{column}" FROM (SELECT unnest(%s::text[])::{new[column]["type"]} AS "{column}") tried WHERE NOT ({check.replace("%", "%%")})',  # noqa: S608  # nosec B608
            [words],
        )
        found += [f"{table}.{column} no longer takes {word!r}." for (word,) in cursor.fetchall()]
    return found


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # nosec


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ops.releases.record", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--commit", default="HEAD", help="the commit of the release (default: the one that is checked out)"
    )
    commit = git("rev-parse", "--verify", f"{parser.parse_args(arguments).commit}^{{commit}}")
    paths = [f"{app}/{part}" for app in OURS for part in ("migrations", "models", "models.py")]
    changed = git("diff", "--name-only", commit, "--", *paths)
    if changed:
        print(f"These aren't the models and migrations of {commit[:7]}:\n{changed}", file=sys.stderr)
        return 1

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
    import django

    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from quokkaq.lib.database.owner import as_owner

    with as_owner():
        executor = MigrationExecutor(connection)
        leaves = executor.loader.graph.leaf_nodes()
        if executor.migration_plan(leaves):
            print("This database isn't migrated: run manage.py migrate first.", file=sys.stderr)
            return 1
        with connection.cursor() as cursor:
            tables = needed(cursor)
    record = {"version": settings.VERSION, "commit": commit, "migrations": dict(leaves), "tables": tables}
    path = FOLDER / f"{settings.VERSION}.json"
    # A column is a line.
    text = json.dumps(record, indent=1)
    text = re.sub(r'\{\s*("type"[^}]*?)\s*\}', lambda of: "{" + re.sub(r"\s*\n\s*", " ", of[1]) + "}", text)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(tables)} tables, as {commit[:7]} needs them.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
