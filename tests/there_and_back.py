"""Take a database with demo data back over migrations and forward again, and say which columns hold other values after.

    python -m tests.there_and_back accounts:0004 forum:0013

Run by `tests/quokkaq/test_migrations.py` in a process of its own, on a database of its own.
"""

import io
import json
import os
import sys
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")


def columns(cursor: Any) -> set[tuple[str, str]]:
    """Return every column of every table but what migrations write down themselves."""
    cursor.execute(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name !~ '^(django_migrations|django_content_type|auth_permission|procrastinate_)'"
    )
    return set(cursor.fetchall())


def values(cursor: Any, asked: set[tuple[str, str]]) -> dict[str, str]:
    """Return for each column how many values it holds and a digest of them."""
    found = {}
    for table, column in sorted(asked):
        cursor.execute(
            f"SELECT count(*) || ' ' || md5(coalesce(string_agg(coalesce(\"{column}\"::text, 'null'), ','"
            f' ORDER BY "{column}"::text), \'\')) FROM "{table}"'
        )
        found[f"{table}.{column}"] = cursor.fetchone()[0]
    return found


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


def main(targets: list[str]) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from quokkaq.lib import tenancy

    def migrate(*target: str) -> None:
        call_command("migrate", *target, verbosity=0)

    migrate()
    call_command("seed_demo", stdout=io.StringIO())
    with tenancy.scope(tenancy.EVERY):
        leave_traces()
        with connection.cursor() as cursor:
            before = values(cursor, columns(cursor))
    for target in targets:
        migrate(*target.split(":"))
    with tenancy.scope(tenancy.EVERY), connection.cursor() as cursor:
        kept = columns(cursor)
        there = values(cursor, kept)
    migrate()
    with tenancy.scope(tenancy.EVERY), connection.cursor() as cursor:
        after = values(cursor, kept)
        cursor.execute("SELECT count(*) FROM pg_policy WHERE polname = 'tenancy'")
        policies = cursor.fetchone()[0]
    names = sorted(before.keys() & after.keys())
    print(json.dumps({
        "compared": len(names), "policies": policies,
        "lost": [name for name in names if before[name] != there[name]],
        "other": [name for name in names if before[name] != after[name]],
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
