"""Take each migration of a database with demo data back and do it again, and say which columns hold other values after.

    python -m tests.there_and_back

Run by `tests/quokkaq/test_migrations.py` in a process of its own, on a migrated database of its own.
"""

import io
import json
import os
from typing import Any

from django.db import transaction

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")

APPS = ("accounts", "forum", "ai_answers", "quokkaq")
# Where the way back ends.
FIRST = (("accounts", "0001_initial"), ("forum", "0001_initial"))


def columns(cursor: Any) -> dict[str, list[str]]:
    """Return the columns of every table but what migrations write down themselves."""
    cursor.execute(
        "SELECT table_name, array_agg(column_name::text ORDER BY column_name) FROM information_schema.columns"
        " WHERE table_schema = 'public'"
        " AND table_name !~ '^(django_migrations|django_content_type|auth_permission|procrastinate_)' GROUP BY table_name"
    )
    return dict(cursor.fetchall())


def values(cursor: Any, asked: dict[str, list[str]]) -> dict[str, str]:
    """Return for each table a digest of its rows, for each column one of its values, with how many there are."""
    found = {}
    for table, names in sorted(asked.items()):
        each = [
            f"md5(coalesce(string_agg(coalesce(\"{name}\"::text, 'null'), ',' ORDER BY \"{name}\"::text), ''))"
            for name in names
        ]
        listed = ", ".join(f'"{name}"' for name in names)
        cursor.execute(
            f"SELECT count(*), md5(coalesce(string_agg(r::text, ',' ORDER BY r::text), '')), {', '.join(each)}"
            f' FROM (SELECT {listed} FROM "{table}") r'
        )
        count, rows, *digests = cursor.fetchone()
        found[table] = f"{count} {rows}"
        found |= {f"{table}.{name}": f"{count} {digest}" for name, digest in zip(names, digests, strict=True)}
    return found


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the columns that hold other values, and in their place the tables that hold more or fewer rows."""
    found = set()
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            same_number = before[name].split()[0] == after[name].split()[0]
            found.add(name if same_number else name.partition(".")[0])
    return sorted(found)


def leave_traces() -> None:
    """Make rows in every table that the newer migrations added, by what people do, and of what they find it hard to take back."""
    from django.utils import timezone

    from accounts import actions
    from accounts.access import get_member
    from accounts.models import (
        ConsentKind,
        Erasure,
        IdentityProvider,
        InstitutionDomain,
        LtiIdentity,
        User,
    )  # fmt: skip
    from ai_answers.models import MaterialImport
    from tests import factories

    ada, sam, noor = (User.objects.get(email=f"{name}@example.edu") for name in ("ada", "sam", "noor"))
    member = get_member(ada, "cs-101")
    actions.make_join_code(by=member)
    factories.make_invitation(member, "rosa@example.edu")
    factories.make_roster_import(member)
    User.objects.filter(pk=ada.pk).update(institution_role="admin", is_staff=True)
    ada.refresh_from_db()
    fields = dict.fromkeys(("authorization_url", "token_url", "jwks_url"), "https://canvas.example/x")
    platform = actions.save_lti_platform(
        by=ada, platform=None, fields=fields | {"name": "Canvas", "issuer": "https://canvas.example", "client_id": "7"},
        deployments=["1"],
    )  # fmt: skip
    actions.current_lti_key(ada.institution_id)
    LtiIdentity.objects.create(institution_id=ada.institution_id, platform=platform, sub="s", user=sam)
    actions.record_consent(by=sam, kind=ConsentKind.AI, version="2026-11", is_given=True)
    factories.make_data_export(sam)
    IdentityProvider.objects.create(
        institution_id=ada.institution_id, name="Uni", slug="uni", protocol="oidc", server_url="https://uni.example"
    )
    InstitutionDomain.objects.create(institution_id=ada.institution_id, domain="uni.example")
    MaterialImport.objects.filter(pk=factories.make_import(member).pk).update(state="checking")
    # Somebody who is gone, and stands in the log all the same.
    actions.request_erasure(by=noor, person=noor)
    Erasure.objects.update(due_at=timezone.now())
    actions.erase_person(Erasure.objects.get().pk)
    actions.note_failed_sign_in("sam@example.edu", "192.0.2.7")


def step(executor: Any, migration: Any, state: Any, cursor: Any) -> dict[str, Any]:
    """Take one migration back, do it again, and undo that; say what the way back lost and the way forth didn't bring."""
    newer = columns(cursor)
    before = values(cursor, newer)
    executor.unapply_migration(state, migration)
    older = {
        table: [name for name in names if name in newer.get(table, [])] for table, names in columns(cursor).items()
    }
    older = {table: names for table, names in older.items() if names}
    # Of what both schemes have. Rows as a whole are compared before and after the way forth.
    there = values(cursor, older)
    if migration.atomic:
        with transaction.atomic():
            executor.apply_migration(state.clone(), migration)
            again = values(cursor, older)
            transaction.set_rollback(True)
    else:  # what is done concurrently can't be rolled back
        executor.apply_migration(state.clone(), migration)
        again = values(cursor, older)
        executor.unapply_migration(state, migration)
    known = {name: digest for name, digest in before.items() if "." in name and name in there}
    return {
        "compared": len(known), "lost": differing(known, there), "other": differing(known, again),
        "apart": sorted(table for table in older if there[table] != again[table] and not differing(known, again)),
    }  # fmt: skip


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from quokkaq.lib import tenancy
    from quokkaq.migrating import Executor, at_work

    call_command("seed_demo", stdout=io.StringIO())
    with tenancy.scope(tenancy.EVERY):
        leave_traces()
    executor = Executor(connection)
    graph = executor.loader.graph
    plan = [migration for migration, _ in executor.migration_plan(graph.leaf_nodes(), clean_start=True)]
    applied = [(migration.app_label, migration.name) for migration in plan]
    steps: dict[str, dict[str, Any]] = {}
    with at_work(connection, print), tenancy.scope(tenancy.EVERY), connection.cursor() as cursor:
        for migration in reversed(plan):
            key = migration.app_label, migration.name
            if key[0] not in APPS or key in FIRST:
                continue
            applied.remove(key)
            state = executor.loader.project_state(applied)
            state.apps  # noqa: B018  # rendered once
            if key[1] == "0001_initial":
                executor.unapply_migration(state, migration)  # so that those it stands on can go
            else:
                steps[".".join(key)] = step(executor, migration, state, cursor)
    call_command("migrate", verbosity=0)
    with tenancy.scope(tenancy.EVERY), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_policy WHERE polname = 'tenancy'")
        policies = cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM forum_thread")
        threads = cursor.fetchone()[0]
    print(json.dumps({
        "steps": steps, "policies": policies, "threads": threads, "compared": max(of["compared"] for of in steps.values()),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
