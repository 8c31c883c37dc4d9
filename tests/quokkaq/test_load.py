"""What the load test is sent as and at, how many come, and the arithmetic of the capacity model."""

import copy
import csv
import io
import itertools
import json
import random
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import Enrollment, User
from forum.models import Thread
from ops.load import acts, aim, capacity, shapes
from quokkaq.row_security import FOLLOWS, OWN, SHARED
from quokkaq.row_security import tables as tables_of

MEASURED = {
    "measured_on": "2026-11-27", "cores": 2, "others": 0.0,
    "forum": {"per_writing": 5_000, "per_person": 4_000, "threads": 10, "posts": 50, "people": 5},
    "cpu_ms": {"list": {"web": 10.0, "database": 2.0}, "search": {"web": 20.0, "database": 40.0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://forum.example.edu", []),
        ("https://forum.example.edu", ["example.edu"]),
        ("https://forum.example.edu.evil.example", ["forum.example.edu"]),
        ("https://forum.example.edu@evil.example", ["forum.example.edu"]),
        ("https://sam:word@forum.example.edu", ["forum.example.edu"]),
        ("forum.example.edu", ["forum.example.edu"]),
        ("ftp://forum.example.edu", ["forum.example.edu"]),
        (None, ["forum.example.edu"]),
    ],
)
def test_what_was_not_named_exactly_is_not_loaded(url: str | None, allowed: list[str]) -> None:
    with pytest.raises(aim.Refused):
        aim.check_target(url, allowed)


def test_what_was_named_twice_is_loaded() -> None:
    aim.check_target("https://forum.example.edu:8443/", ["other.example", "forum.example.edu"])


def test_a_bad_file_of_people_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    with pytest.raises(aim.Refused, match="can't be read"):
        aim.read_testers(str(file))
    file.write_text("email,name\na@b.example,A\n")
    with pytest.raises(aim.Refused, match="columns"):
        aim.read_testers(str(file))
    file.write_text("email,password,name,role,course\n")
    with pytest.raises(aim.Refused, match="nobody"):
        aim.read_testers(str(file))
    with pytest.raises(aim.Refused, match="who to be"):
        aim.read_testers("")


@pytest.mark.parametrize("shape", sorted(shapes.SHAPES))
def test_a_shape_reaches_the_most_and_never_passes_it(shape: str) -> None:
    counts = [shapes.people(shape, at / 200, 400) for at in range(201)]
    assert max(counts) == 400
    assert min(counts) >= 1


def test_a_herd_comes_at_once() -> None:
    assert shapes.people("herd", 0.249, 1000) == 50
    assert shapes.people("herd", 0.251, 1000) == 1000


def test_each_kind_of_the_mix_can_be_done() -> None:
    place, draw = acts.Place("cs-101", [3, 2, 1], ["lists", "tuples"]), random.Random(1)
    for kind in set(acts.mix()) - {"static", "sign_in"}:
        assert acts.act(kind, place, draw).path.startswith("/")
    with pytest.raises(KeyError):
        acts.act("nonsense", place, draw)


def test_an_answer_is_looked_into() -> None:
    asked = acts.thread("cs-101", 7)
    assert asked.problem(200, 'x <span class="number">#7</span>') == ""
    assert "answer without" in asked.problem(200, "An error page that says 200")
    assert asked.problem(302, "", "/sign-in/?next=/c/") == "status 302"
    assert acts.vote("cs-101", 7, random.Random(1)).problem(302, "", "/sign-in/?next=/c/") == "signed out"


@pytest.mark.django_db
def test_people_of_a_load_test_can_sign_in_and_read(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    call_command("make_load_people", people=12, courses=2, out=str(file), stdout=io.StringIO())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = list(csv.DictReader(file.open()))
    assert len(rows) == 12
    assert {row["role"] for row in rows} == {"instructor", "student"}
    student = next(row for row in rows if row["role"] == "student")
    client = Client()
    asked = acts.sign_in(student["email"], student["password"])
    assert client.post(asked.path, asked.fields).status_code == 302
    newest = Thread.objects.filter(course__slug=student["course"]).latest("number").number
    answer = client.get(acts.thread(student["course"], newest).path)
    assert acts.thread(student["course"], newest).problem(answer.status_code, answer.content.decode()) == ""

    # Again: more people, nobody twice, and yesterday's password is worth nothing.
    call_command("make_load_people", people=14, courses=2, out=str(file), stdout=io.StringIO())
    assert User.objects.filter(email__endswith="@load-test.invalid").count() == 14
    assert Enrollment.objects.filter(user__email__endswith="@load-test.invalid").count() == 14
    assert Client().post(asked.path, asked.fields).status_code != 302

    call_command("make_load_people", close=True, out="-", stdout=io.StringIO())
    again = acts.sign_in(student["email"], next(csv.DictReader(file.open()))["password"])
    assert Client().post(again.path, again.fields).status_code != 302


@pytest.mark.django_db
def test_in_production_it_must_be_said_that_it_is_staging(settings: Any, tmp_path: Path) -> None:
    settings.PRODUCTION, settings.ALLOWED_HOSTS = True, ["staging.example.edu", "testserver"]
    file = tmp_path / "people.csv"
    for said in ("", "forum.example.edu"):
        with pytest.raises(CommandError, match="--this-is-staging"):
            call_command("make_load_people", people=2, courses=1, out=str(file), this_is_staging=said)
    assert not User.objects.filter(email__endswith="@load-test.invalid").exists()
    assert not file.exists()
    call_command(
        "make_load_people",
        people=2,
        courses=1,
        out=str(file),
        this_is_staging="staging.example.edu",
        stdout=io.StringIO(),
    )
    assert file.exists()


def model(students: int = 1_000, **changes: Any) -> capacity.Capacity:
    inputs = copy.deepcopy(acts.inputs())
    inputs["requests"] = {"list": 30, "search": 10, "new_thread": 4, "reply": 6}
    inputs["people"] |= {
        "there_share": 0.5,
        "exam_there_share": 1.0,
        "exam_factor": 2,
        "peak_factor": 10,
        "term_days": 200,
    }
    for name, value in changes.items():
        inputs[name] |= value
    return capacity.compute(students, inputs, MEASURED)


def test_requests_follow_from_students() -> None:
    found = model()
    assert found.there == 500
    assert found.requests_a_day == 500 * 50
    assert found.peak == pytest.approx(500 * 50 / 86_400 * 10)
    assert found.exam_peak == pytest.approx(1000 * 2 * 50 / 86_400 * 10)
    assert found.writes_a_day == 500 * 10


def test_cores_follow_from_what_requests_cost() -> None:
    # 30 lists of 10 ms and 10 searches of 20 ms in 50 requests: 10 ms a request.
    found = model(1_000_000, machines={"busy_share": 0.5})
    assert found.web_cores == -(-found.exam_peak * 0.010 // 0.5)
    # (30 x 2 + 10 x 40) / 50 = 9.2 ms in the database, of which searches, 8 ms, go to replicas.
    assert found.replica_cores == -(-found.exam_peak * 0.008 // 0.5)
    assert found.database_cores == pytest.approx(found.exam_peak * 0.0012 / 0.5, abs=1)


def test_rows_and_tokens_are_counted_once() -> None:
    found = model(
        ai={"private_messages": 0.5, "previews": 0.5, "tokens_in": 1000, "tokens_out": 100, "remote_share": 1.0}
    )
    assert found.disk_gb_a_year == pytest.approx((500 * 10 * 200 * 5_000 + 1_000 * 4_000) / 1e9)
    assert found.ai_questions_a_day == 500 * 5
    assert found.tokens_a_day == 500 * 5 * 1100
    priced = model(
        ai={
            "private_messages": 0.5,
            "previews": 0.5,
            "tokens_in": 1000,
            "tokens_out": 100,
            "price_in": 1,
            "price_out": 10,
        }
    )
    assert priced.money["models"] == pytest.approx(200 / 12 * 500 * 5 * (1000 * 1 + 100 * 10) / 1e6)


def test_the_embedded_engine_costs_no_tokens() -> None:
    found = model(ai={"remote_share": 0.0})
    assert found.money["models"] == 0
    assert found.tokens_a_day == 0


def test_more_students_never_take_less() -> None:
    rows = [model(10**power) for power in range(2, 8)]
    for name in ("web_cores", "database_cores", "worker_cores", "connections", "disk_gb_a_year"):
        values = [getattr(row, name) for row in rows]
        assert values == sorted(values), name
    assert all(sum(less.money.values()) < sum(more.money.values()) for less, more in itertools.pairwise(rows))


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0"), (0.0123, "0.012"), (1.25, "1.2"), (7, "7"), (42.4, "42"), (123456, "123,000"), (17_536_000, "17,500,000")]
)  # fmt: skip
def test_numbers_say_no_more_than_is_known(value: float, said: str) -> None:
    assert capacity.number(value) == said


def test_the_document_shows_what_the_model_computes() -> None:
    computed = capacity.table(*capacity.rows())
    document = capacity.DOCUMENT.read_text()
    assert capacity.written(document, computed) == document, "python -m ops.load.capacity --write"
    assert capacity.CHART.read_text() == capacity.chart(capacity.rows()[0]) + "\n"
    assert set(json.loads(capacity.MEASURED.read_text())["cpu_ms"]) == set(acts.mix()) - {"static"}


@pytest.mark.django_db
def test_the_document_names_what_is_unique_over_all_institutions() -> None:
    """Keys without a column that leads to a row of an institution: what Citus couldn't keep unique, and cells have to agree on."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname || '.' || string_agg(a.attname, '+' ORDER BY k.ord)
            FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace s ON s.oid = c.relnamespace
            CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(att, ord)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att
            WHERE i.indisunique AND NOT i.indisprimary AND s.nspname = 'public'
              AND EXISTS (SELECT 1 FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attname = 'institution_id')
            GROUP BY c.relname, i.indexrelid
            HAVING NOT bool_or(a.attname = 'institution_id' OR EXISTS (
                SELECT 1 FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)))
            """
        )
        found = {row[0] for row in cursor.fetchall()}
        names = set(tables_of(cursor))
    document = capacity.DOCUMENT.read_text()
    named = set(re.findall(r"`([a-z_]+\.[a-z_+]+)`", document))
    assert found == {name for name in named if name.split(".")[0] in names}
    assert (len(names), len(SHARED), len(FOLLOWS)) == tuple(
        int(number) for number in re.findall(r"<!-- of (\d+) tables (\d+) are shared and (\d+) follow -->", document)[0]
    )
    assert OWN
