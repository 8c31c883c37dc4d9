"""The wall between institutions, in the database: whatever a query asks for, it shows one institution's rows."""

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, ProgrammingError, connection, models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import Client, RequestFactory
from psycopg_pool import ConnectionPool

from accounts.actions import enter_institution
from accounts.middleware import GLASS_KEY, TenancyMiddleware
from accounts.models import AuditEvent, Course, Institution, User
from accounts.reaching import institution_of_email, institution_of_feed, institution_of_person
from forum.models import Thread
from quokkaq import row_security
from quokkaq.lib import jobs, tenancy
from quokkaq.lib.database.pool import forget
from tests import factories
from tests.factories import World
from tests.processes import database_url

# What stands in a column of each type when nothing else is said.
SAMPLES = {
    "uuid": "gen_random_uuid()", "bool": "false", "jsonb": "'{}'", "timestamptz": "now()", "date": "now()",
    "halfvec": "'[1]'", "vector": "'[1]'", "tsvector": "''", "text": "md5(random()::text)", "varchar": "left(md5(random()::text), 5)",
    "inet": "'127.0.0.1'", "bytea": "''", "interval": "'1 s'",
}  # fmt: skip


def sample(kind: str) -> str:
    return "'{}'" if kind.startswith("_") else SAMPLES.get(kind, "1")


def rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        return int(cursor.fetchone()[0])


def fill_every_table(world: World) -> list[str]:
    """Put a row of Home University into each table there is, and return their names; checks and keys don't matter here."""
    home, sam = world.institution.pk, world.user("sam").pk
    filled = []
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
                       " AND connamespace = 'public'::regnamespace")  # fmt: skip
        for table, name in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        for table, columns in row_security.tables(cursor).items():
            if row_security.rule_of(table, columns) is None:
                continue
            cursor.execute(
                "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = 'public'"
                " AND table_name = %s AND is_generated = 'NEVER' AND is_identity = 'NO'"
                " AND (is_nullable = 'NO' OR column_name = 'institution_id')"
                " AND (column_default IS NULL OR column_name = 'institution_id')",
                [table],
            )
            known = {
                "institution_id": f"'{home}'",
                "user_id": f"'{sam}'",
                "email_address_id": f"(SELECT min(id) FROM account_emailaddress WHERE user_id = '{sam}')",
                "account_id": "(SELECT min(id) FROM socialaccount_socialaccount)",
            }
            if table == "accounts_institution":
                known = {}
            found = {name: known.get(name, sample(kind)) for name, kind in cursor.fetchall()}
            names, values = ", ".join(f'"{name}"' for name in found), ", ".join(found.values())
            cursor.execute(f'INSERT INTO "{table}" ({names}) VALUES ({values})')
            filled.append(table)
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    return filled


# Nobody sees what isn't theirs


def test_eve_sees_no_row_of_any_table_without_any_filter(world: World) -> None:
    eve = world.user("eve")
    filled = fill_every_table(world)
    assert len(filled) > 60
    everything = {table: rows(table) for table in filled}
    assert all(everything.values())
    own = {
        "accounts_institution": 1,
        "accounts_user": 1,
        "accounts_course": 1,
        "accounts_enrollment": 1,
        "account_emailaddress": 1,
    }
    with tenancy.scope(eve.institution_id, eve.pk):
        assert {table: rows(table) for table in filled} == {table: own.get(table, 0) for table in filled}
    for nobody in (tenancy.NOBODY, tenancy.Scope(uuid.uuid4(), uuid.uuid4(), "x" * 32)):
        with tenancy.within(nobody):
            assert {table: rows(table) for table in filled} == dict.fromkeys(filled, 0)
    # The control: at home, all of it is there, but for other people's sessions.
    sam = world.user("sam")
    with tenancy.scope(sam.institution_id, sam.pk):
        at_home = {table: rows(table) for table in filled}
    assert [table for table, count in at_home.items() if not count] == ["django_session"]


def test_unfiltered_managers_show_one_institution(world: World) -> None:
    factories.make_answer(world.member("sam"), world.member("tim"))
    eve = world.user("eve")
    ours = [model for model in apps.get_models() if model._meta.app_label in ("accounts", "forum", "ai_answers")]
    for model in ours:
        if not any(field.name == "institution" for field in model._meta.fields):
            continue
        found: models.QuerySet[Any] = model._base_manager.all()
        with tenancy.scope(eve.institution_id, eve.pk):
            assert {row.institution_id for row in found} <= {eve.institution_id}, model


def test_eve_writes_nothing_into_another_institution(world: World) -> None:
    eve, home = world.user("eve"), world.institution
    thread = factories.make_thread(world.member("sam"))
    with tenancy.scope(eve.institution_id, eve.pk):
        assert Thread.objects.filter(pk=thread.pk).update(title="Mine now") == 0
        assert Thread.objects.filter(pk=thread.pk).delete()[0] == 0
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Course.objects.create(institution=home, code="X", name="X", term="X", slug="x")
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Course.objects.filter(institution=eve.institution_id).update(institution=home)
    assert Thread.objects.get(pk=thread.pk).title == thread.title


def test_a_row_belongs_to_the_institution_in_force(world: World) -> None:
    with tenancy.scope(world.institution.pk):
        made = Course.objects.create(code="X", name="X", term="X", slug="x")
        assert made.institution_id == world.institution.pk
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO accounts_auditevent (id, verb, target_type, target_id, data, request_id, created_at, network, agent)"
                           " VALUES (gen_random_uuid(), 'x', '', gen_random_uuid(), '{}', '', now(), '', '')")  # fmt: skip
        assert AuditEvent.objects.get(verb="x").institution_id == world.institution.pk
    with tenancy.within(tenancy.NOBODY), pytest.raises((IntegrityError, ProgrammingError)), transaction.atomic():
        Course.objects.create(code="Y", name="Y", term="Y", slug="y")


def test_the_web_role_is_walled_in(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s",
                       [settings.DATABASE_WEB_ROLE])  # fmt: skip
        assert cursor.fetchone() == (False, False, False, False)
        cursor.execute("SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
                       " WHERE c.relnamespace = 'public'::regnamespace AND r.rolname = %s", [settings.DATABASE_WEB_ROLE])  # fmt: skip
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
                       " AND NOT (relrowsecurity AND relforcerowsecurity)")  # fmt: skip
        open_tables = {name for (name,) in cursor.fetchall()}
    assert open_tables == set(row_security.SHARED)
    # All of them at once is for who owns the tables.
    with tenancy.scope(tenancy.EVERY):
        assert User.objects.get_queryset().count() == len(world.people)
    entered = tenancy.Scope(world.institution.pk)
    with tenancy.within(entered), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('quokkaq.institution', '*', true)")
        cursor.execute("SELECT count(*) FROM accounts_user")
        assert cursor.fetchone() == (0,)
        for forbidden in ("DROP POLICY tenancy ON accounts_user", "ALTER TABLE accounts_user NO FORCE ROW LEVEL SECURITY",
                          "ALTER TABLE accounts_user DISABLE ROW LEVEL SECURITY", "TRUNCATE accounts_user CASCADE"):  # fmt: skip
            with pytest.raises(ProgrammingError), transaction.atomic():
                cursor.execute(forbidden)


def test_a_table_without_a_decision_stops_the_migration(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE somebody_s_secrets (id int)")
    with pytest.raises(LookupError, match="somebody_s_secrets"):
        row_security.secure(connection)


def test_securing_again_touches_nothing_and_a_new_table_is_walled_in(db: None) -> None:
    assert row_security.secure(connection) == []
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE later (id int, institution_id uuid)")
        cursor.execute("ALTER TABLE forum_thread NO FORCE ROW LEVEL SECURITY")
    assert row_security.secure(connection) == ["forum_thread", "later"]


# The scope reaches the connection, and nothing else does


def institution_told() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('quokkaq.institution', true)")
        return str(cursor.fetchone()[0] or "")


def test_a_rollback_doesnt_bring_back_another_scope(world: World) -> None:
    home, away = world.institution.pk, world.other_institution.pk
    with tenancy.scope(home):
        assert institution_told() == str(home)
        with pytest.raises(ZeroDivisionError), transaction.atomic(), tenancy.scope(away):
            assert institution_told() != str(1 / 0)
        assert institution_told() == str(home)
        with pytest.raises(IntegrityError), transaction.atomic(), tenancy.scope(away):
            Course.objects.create(institution_id=away, code="C", name="C", term="T", slug="cs-101")
        assert institution_told() == str(home)
    assert institution_told() == ""


@pytest.mark.django_db(transaction=True)
def test_threads_work_for_whom_they_were_told() -> None:
    institutions = [Institution.objects.create(name=name, slug=name) for name in "abcdef"]
    wrong: list[Any] = []

    def work(own: Institution) -> None:
        for _ in range(25):
            with tenancy.scope(own.pk):
                found = list(Institution.objects.values_list("pk", flat=True))
            if found != [own.pk]:
                wrong.append(found)
        connection.close()

    threads = [threading.Thread(target=work, args=[own]) for own in institutions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_connection_that_comes_from_the_pool_carries_nothing_over(db: None) -> None:
    with ConnectionPool(database_url(), min_size=1, max_size=1, kwargs={"autocommit": True}, check=forget) as pool:
        with pool.connection() as used:
            pid = used.info.backend_pid
            used.execute("SELECT set_config('quokkaq.institution', %s, false), set_config('quokkaq.person', %s, false),"
                         " set_config('quokkaq.session', 'key', false)", [str(uuid.uuid4()), str(uuid.uuid4())])  # fmt: skip
        with pool.connection() as again:
            assert again.info.backend_pid == pid
            found = again.execute("SELECT current_setting('quokkaq.institution'), current_setting('quokkaq.person'),"
                                  " current_setting('quokkaq.session')").fetchone()  # fmt: skip
            assert found == ("", "", "")


@pytest.mark.django_db(transaction=True)
def test_behind_pgbouncer_each_statement_brings_its_scope(settings: Any) -> None:
    settings.DATABASE_BEHIND_PGBOUNCER = True
    world = factories.make_world()
    connection.close()  # the next one is made for this mode
    try:
        with tenancy.scope(world.institution.pk):
            assert Institution.objects.get_queryset().count() == 1
            assert User.objects.bulk_create([], ignore_conflicts=True) == []
            with transaction.atomic():
                assert User.objects.get_queryset().count() == 7
                with tenancy.scope(world.other_institution.pk):
                    assert User.objects.get_queryset().count() == 1
            # Nothing stays behind on the connection, which somebody else may be given next.
            with psycopg.connect(database_url()) as other:
                assert other.execute("SELECT current_setting('quokkaq.institution', true)").fetchone() in (
                    (None,),
                    ("",),
                )
            raw = connection.connection.pgconn.exec_(b"SELECT current_setting('quokkaq.institution', true)")
            assert raw.get_value(0, 0) in (None, b"")
    finally:
        settings.DATABASE_BEHIND_PGBOUNCER = False
        connection.close()


# Before somebody is signed in


def test_look_ups_tell_the_institution_and_nothing_else(world: World) -> None:
    sam = world.user("sam")
    User.objects.filter(pk=sam.pk).update(feed_key="feed-key-of-sam")
    with tenancy.within(tenancy.NOBODY):
        assert institution_of_email(" SAM@example.edu ") == sam.institution_id
        assert institution_of_email("nobody@example.edu") is None
        assert institution_of_person(str(sam.pk)) == sam.institution_id
        assert institution_of_feed("feed-key-of-sam") == sam.institution_id
        assert institution_of_feed("") is None
        assert set(tenancy.institutions()) == {world.institution.pk, world.other_institution.pk}
        # They leave no door open behind them.
        assert User.objects.get_queryset().count() == 0
        assert institution_told() == ""


def test_a_session_is_shown_to_who_brings_its_key(world: World) -> None:
    client = factories.browser(world.user("sam"))
    key = client.session.session_key or ""
    with tenancy.scope(world.institution.pk, world.user("noor").pk):
        assert rows("django_session") == 0
        with tenancy.session(key):
            assert rows("django_session") == 1


# Requests


def respond(request: HttpRequest) -> HttpResponse:
    return HttpResponse(institution_told())


def test_a_request_works_for_the_institution_of_who_is_signed_in(world: World) -> None:
    for name in ("sam", "eve"):
        client = factories.browser(world.user(name))
        response = client.get("/courses/")
        assert [row.course.institution_id for row in response.context["enrollments"]] == [
            world.user(name).institution_id
        ]
        assert tenancy.current() is None


def test_a_session_from_before_the_wall_goes_on(world: World) -> None:
    client = factories.browser(world.user("sam"))
    session = client.session
    session.pop("institution", None)
    session.save()
    assert client.get("/courses/").status_code == 200
    assert client.session["institution"] == str(world.institution.pk)


def test_somebody_deleted_is_nobody(world: World) -> None:
    client = factories.browser(world.user("carl"))
    session = client.session
    session.pop("institution", None)
    session["_auth_user_id"] = str(uuid.uuid4())
    session.save()
    assert client.get("/courses/").status_code == 302


def test_what_is_streamed_is_written_in_the_scope_of_its_request(world: World, rf: RequestFactory) -> None:
    def view(request: HttpRequest) -> HttpResponseBase:
        return StreamingHttpResponse(institution_told().encode() for _ in range(2))

    request = rf.get("/", headers={"cookie": f"{settings.SESSION_COOKIE_NAME}=x"})
    request.session = factories.browser(world.user("sam")).session
    response = TenancyMiddleware(view)(request)
    assert isinstance(response, StreamingHttpResponse)
    written: list[bytes] = []
    for piece in response:
        written.append(piece)
        assert tenancy.current() is None
    assert written == [str(world.institution.pk).encode()] * 2


# Operators


@pytest.fixture
def root(world: World) -> User:
    return User.objects.create_superuser("root@example.edu", display_name="Root Operator")


def test_an_operator_looks_into_an_institution_for_a_reason_on_its_record(world: World, root: User) -> None:
    client = Client()
    client.force_login(root)
    people = "/admin/accounts/user/"
    assert [user.pk for user in client.get(people).context["cl"].queryset] == [root.pk]
    listed = client.get("/admin/accounts/institution/").content.decode()
    url = f"/operators/enter/{world.institution.pk}/"
    assert url in listed
    assert client.get(url).status_code == 200
    refused = client.post(url, {"reason": "curious"})
    assert refused.status_code == 422
    assert "curious" in refused.content.decode()
    key = client.session.session_key
    assert client.post(url, {"reason": "Ticket 4711: a roster is missing"}).status_code == 302
    assert client.session.session_key != key
    event = AuditEvent.objects.get(verb="institution.entered")
    assert (event.institution, event.actor, event.data) == (
        world.institution, root, {"reason": "Ticket 4711: a roster is missing"}
    )  # fmt: skip
    page = client.get(people)
    assert "Home University" in page.content.decode()
    assert {user.institution_id for user in page.context["cl"].queryset} == {world.institution.pk}
    assert str(world.user("eve").pk) not in page.content.decode()
    assert client.post("/operators/leave/").status_code == 302
    assert AuditEvent.objects.get(verb="institution.left").institution == world.institution
    assert [user.pk for user in client.get(people).context["cl"].queryset] == [root.pk]
    assert client.post("/operators/leave/").status_code == 404


def test_the_glass_closes_by_itself(world: World, root: User) -> None:
    client = factories.browser(root, into=world.institution)
    session = client.session
    session[GLASS_KEY] = {**session[GLASS_KEY], "until": 0}
    session.save()
    assert [user.pk for user in client.get("/admin/accounts/user/").context["cl"].queryset] == [root.pk]


@pytest.mark.parametrize("name", ["sam", "tim", "ada", "eve"])
def test_nobody_else_looks_into_an_institution(world: World, name: str) -> None:
    client = factories.browser(world.user(name))
    for institution in (world.institution, world.other_institution):
        assert client.get(f"/operators/enter/{institution.pk}/").status_code == 404
        assert client.post(f"/operators/enter/{institution.pk}/", {"reason": "I want to know"}).status_code == 404
    assert client.post("/operators/leave/").status_code == 404
    assert not AuditEvent.objects.filter(verb__startswith="institution.").exists()


def test_an_administrator_runs_their_institution_and_no_other(world: World) -> None:
    User.objects.filter(pk=world.user("pat").pk).update(is_staff=True, institution_role="admin")
    client = factories.browser(User.objects.get(email="pat@example.edu"))
    people = client.get("/admin/accounts/user/")
    assert {user.institution_id for user in people.context["cl"].queryset} == {world.institution.pk}
    assert len(people.context["cl"].queryset) == 7
    assert client.get(f"/admin/accounts/user/{world.user('eve').pk}/change/").status_code == 302
    page = client.get(f"/admin/accounts/user/{world.user('sam').pk}/change/")
    fields = page.context["adminform"].form.fields
    assert {"institution_role", "is_staff"} <= set(fields)
    assert not {"is_superuser", "groups", "user_permissions"} & set(fields)
    made = {
        "institution": str(world.institution.pk), "code": "NEW 1", "name": "New", "term": "Spring", "slug": "new-1",
        "description": "", "status": "active",
    }  # fmt: skip
    assert client.post("/admin/accounts/course/add/", made).status_code == 302
    elsewhere = client.post("/admin/accounts/course/add/", made | {"institution": str(world.other_institution.pk)})
    assert "institution" in elsewhere.context["adminform"].form.errors
    assert client.get("/admin/accounts/institution/add/").status_code == 403
    assert [row.pk for row in client.get("/admin/accounts/institution/").context["cl"].queryset] == [
        world.institution.pk
    ]
    assert client.get("/admin/ai_answers/conversation/").context["cl"].queryset.count() == 0


def test_the_actions_ask_again(world: World) -> None:
    with pytest.raises(PermissionDenied):
        enter_institution(by=world.user("ada"), institution=world.other_institution, reason="I want to know")
    User.objects.filter(pk=world.user("pat").pk).update(is_staff=True, institution_role="admin")
    pat = User.objects.get(email="pat@example.edu")
    assert set(Course.objects.run_by(pat)) == {world.course, world.other_course}


# Tasks


def test_a_job_works_for_the_institution_it_names(world: World) -> None:
    seen: list[tuple[str, uuid.UUID | None]] = []

    @jobs.of_institution
    def task(name: str) -> None:
        seen.append((name, tenancy.institution()))

    task("one", institution_id=str(world.institution.pk), request_id="request-1")
    assert seen == [("one", world.institution.pk)]
    # A job of an older release names none, and finds its row where it is.
    task("old")
    assert {institution for _, institution in seen[1:]} == {world.institution.pk, world.other_institution.pk}


def test_what_fails_at_one_institution_is_done_at_the_others(world: World) -> None:
    done: list[uuid.UUID | None] = []

    @jobs.for_every_institution
    def task(timestamp: int) -> None:
        if tenancy.institution() == world.institution.pk:
            raise ValueError("here")
        done.append(tenancy.institution())

    with pytest.raises(ValueError, match="here"):
        task(0)
    assert done == [world.other_institution.pk]

    @jobs.for_every_institution
    def broken(timestamp: int) -> None:
        raise ValueError("everywhere")

    with pytest.raises(ExceptionGroup):
        broken(0)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    assert tenancy.current() is None


def test_a_role_that_another_database_made_meanwhile_is_taken(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = row_security._one

    def not_yet(cursor: Any, query: str, *values: Any) -> Any:
        return None if "pg_roles" in query else asked(cursor, query, *values)

    monkeypatch.setattr(row_security, "_one", not_yet)
    with connection.cursor() as cursor:
        row_security._ensure_role(cursor)
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
