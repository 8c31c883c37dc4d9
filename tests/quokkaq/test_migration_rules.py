"""What would lock a site in use, or break code of the last release, is refused; the way around it is not."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.postgres import operations as postgres
from django.contrib.postgres.functions import RandomUUID
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.functions import Now
from pytest_django.plugin import DjangoDbBlocker

from ops.rules import migrations as rules
from quokkaq.lib.database.operations import (
    AddIndexConcurrently,
    AddUniqueConcurrently,
    RemoveIndexConcurrently,
    RemoveKeyIndexesConcurrently,
)


@pytest.fixture(autouse=True, scope="module")
def no_transaction(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Nothing is written here; and an index is built concurrently outside of transactions only."""
    with django_db_blocker.unblock():
        yield


def project() -> ProjectState:
    """Two tables that are there already."""
    state = ProjectState()
    fields: dict[str, list[tuple[str, Any]]] = {
        "thread": [
            ("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=40)),
            ("size", models.IntegerField(null=True)),
        ],
        "post": [("id", models.BigAutoField(primary_key=True)), ("body", models.TextField())],
    }  # fmt: skip
    for name, of in fields.items():
        options = {"indexes": [models.Index(fields=["title"], name="by_title")]} if name == "thread" else {}
        state.add_model(ModelState("samples", name, of, options))
    return state


def found(*operations: Operation, atomic: bool = True, text: str = "", used: Any = ()) -> set[str]:
    migration = type("Migration", (migrations.Migration,), {"operations": list(operations), "atomic": atomic})(
        "0002_x", "samples"
    )
    return {finding.rule for finding in rules.look_into(migration, project(), connection, text=text, used=used)}


def add(name: str, field: Any) -> Operation:
    return migrations.AddField("thread", name, field)


def run(*args: object) -> None: ...


BIG = models.CheckConstraint(condition=models.Q(size__gt=0), name="size_positive")
KEY = models.ForeignKey("samples.post", models.CASCADE, null=True, db_index=False)
ONE = models.UniqueConstraint(fields=["title"], name="title_once")
INDEX = models.Index(fields=["size"], name="by_size")
SQL = migrations.RunSQL

REFUSED: dict[str, tuple[str, list[Operation]]] = {
    "a type that needs every row rewritten": ("changing-column-type", [migrations.AlterField("thread", "size", models.BigIntegerField(null=True))]),
    "a text that may only be shorter": ("changing-column-type", [migrations.AlterField("thread", "title", models.CharField(max_length=20))]),
    "a default that differs from row to row": ("adding-field-with-default", [add("key", models.UUIDField(db_default=RandomUUID()))]),
    "a generated column": ("adding-field-with-default", [add("long", models.GeneratedField(expression=models.F("size") * 2, output_field=models.IntegerField(), db_persist=True))]),
    "an index": ("require-concurrent-index-creation", [migrations.AddIndex("thread", INDEX)]),
    "an index of a foreign key": ("require-concurrent-index-creation", [add("post", models.ForeignKey("samples.post", models.CASCADE, null=True))]),
    "an index taken away": ("require-concurrent-index-deletion", [migrations.RemoveIndex("thread", "by_title")]),
    "a unique constraint": ("disallowed-unique-constraint", [migrations.AddConstraint("thread", ONE)]),
    "a unique column": ("disallowed-unique-constraint", [add("slug", models.CharField(max_length=9, null=True, unique=True))]),
    "a check": ("constraint-missing-not-valid", [migrations.AddConstraint("thread", BIG)]),
    "a check, validated in the same breath": ("constraint-missing-not-valid", [postgres.AddConstraintNotValid("thread", BIG), postgres.ValidateConstraint("thread", "size_positive")]),
    "a foreign key over rows that are there": ("adding-foreign-key-constraint", [SQL("ALTER TABLE samples_thread ADD CONSTRAINT k FOREIGN KEY (size) REFERENCES samples_post (id)", "")]),
    "a column that must have a value": ("adding-required-field", [SQL("ALTER TABLE samples_thread ADD COLUMN key text NOT NULL", "")]),
    "a column that must have a value from now on": ("adding-not-nullable-field", [SQL("ALTER TABLE samples_thread ALTER COLUMN size SET NOT NULL", "")]),
    "a default that only Python knows": ("ban-drop-default", [add("points", models.IntegerField(default=0))]),
    "a new name of a field": ("renaming-column", [migrations.RenameField("thread", "size", "length")]),
    "a new name of a model": ("renaming-table", [migrations.RenameModel("Thread", "Topic")]),
    "a field that code of the last release uses": ("ban-drop-column", [migrations.RemoveField("thread", "size")]),
    "a model that code of the last release uses": ("ban-drop-table", [migrations.DeleteModel("Post")]),
    "Python beside a change of the schema": ("data-beside-schema", [add("points", models.IntegerField(null=True)), migrations.RunPython(run, run)]),
    "rows written beside a change of the schema": ("data-beside-schema", [add("points", models.IntegerField(null=True)), SQL("UPDATE samples_thread SET points = 0", "")]),
    "two tables": ("two-tables", [add("points", models.IntegerField(null=True)), migrations.AddField("post", "points", models.IntegerField(null=True))]),
    "a trigger of another table": ("two-tables", [add("points", models.IntegerField(null=True)), SQL("CREATE TRIGGER t AFTER INSERT ON samples_post FOR EACH ROW EXECUTE FUNCTION f()", "")]),
    "a table locked by hand": ("whole-table-lock", [SQL("LOCK TABLE samples_thread", "")]),
    "a concurrent index in a transaction": ("ban-concurrent-index-creation-in-transaction", [SQL("CREATE INDEX CONCURRENTLY i ON samples_thread (size)", "")]),
    "SQL that isn't any": ("syntax-error", [SQL("ALTER TABEL samples_thread", "")]),
    "what can't be shown": ("unreadable", [migrations.RemoveConstraint("thread", "nowhere")]),
}  # fmt: skip
OUTSIDE: dict[str, list[Operation]] = {
    "Django's own concurrent index, which a killed run can't do again": [
        postgres.AddIndexConcurrently("thread", INDEX)
    ],
    "two things": [AddIndexConcurrently("thread", INDEX), AddUniqueConcurrently("thread", ONE)],
}
SAFE: dict[str, tuple[bool, list[Operation]]] = {
    "a nullable column": (True, [add("points", models.IntegerField(null=True))]),
    "a column with a default in the database": (True, [add("points", models.IntegerField(db_default=0))]),
    "a column whose default is the time": (True, [add("at", models.DateTimeField(db_default=Now()))]),
    "an empty foreign key, its index later": (True, [add("post", KEY)]),
    "a text that may be longer": (True, [migrations.AlterField("thread", "title", models.CharField(max_length=80))]),
    "a text without a limit": (True, [migrations.AlterField("thread", "title", models.TextField())]),
    "a new table with all that belongs to it": (True, [migrations.CreateModel("Vote", [
        ("id", models.BigAutoField(primary_key=True)), ("thread", models.ForeignKey("samples.thread", models.CASCADE)),
        ("post", models.OneToOneField("samples.post", models.CASCADE)),
    ], {"constraints": [models.CheckConstraint(condition=models.Q(id__gt=0), name="id_positive")]})]),
    "an index, concurrently": (False, [AddIndexConcurrently("thread", INDEX)]),
    "an index taken away, concurrently": (False, [RemoveIndexConcurrently("thread", "by_title")]),
    "indexes of keys taken away, concurrently": (False, [RemoveKeyIndexesConcurrently(keys={"thread": ["size"]})]),
    "a unique constraint, concurrently": (False, [AddUniqueConcurrently("thread", ONE)]),
    "a check that isn't validated yet": (True, [postgres.AddConstraintNotValid("thread", BIG)]),
    "a check being validated": (True, [SQL("ALTER TABLE samples_thread VALIDATE CONSTRAINT size_positive", "")]),
    "filling a column": (False, [migrations.RunPython(run, run)]),
    "filling it in SQL": (True, [SQL("UPDATE samples_thread SET size = 0 WHERE size IS NULL", "")]),
    "a field that only code forgets": (True, [migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("thread", "size")])]),
    "a function that writes when it is called": (True, [SQL("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE a SET b = 1; DELETE FROM c; RETURN NULL; END $$", "")]),
    "choices, which are Python's": (True, [migrations.AlterField("thread", "title", models.CharField(max_length=40, choices=[("a", "A")]))]),
}  # fmt: skip
USED = {("samples_thread", "size"), ("samples_post", "body")}


@pytest.mark.parametrize("case", REFUSED)
def test_what_locks_a_table_or_breaks_the_last_release_is_refused(case: str) -> None:
    rule, operations = REFUSED[case]
    assert rule in found(*operations, used=USED)


@pytest.mark.parametrize("case", OUTSIDE)
def test_outside_a_transaction_stands_one_thing_that_may_run_twice(case: str) -> None:
    assert found(*OUTSIDE[case], atomic=False) == {"not-rerunnable"}


@pytest.mark.parametrize("case", SAFE)
def test_the_safe_way_passes(case: str) -> None:
    atomic, operations = SAFE[case]
    assert found(*operations, atomic=atomic, used=USED) == set()


def test_every_rule_has_a_case() -> None:
    proven = {rule for rule, _ in REFUSED.values()} | {"not-rerunnable"}
    # Seldom written, and squawk's own to prove.
    seldom = {"adding-exclusion-constraint", "adding-serial-primary-key-field", "ban-truncate-cascade"}
    assert proven | seldom == set(rules.SQUAWK) | set(rules.OURS)


def test_what_the_last_release_no_longer_uses_may_go() -> None:
    assert found(migrations.RemoveField("thread", "size"), used={("samples_thread", "title")}) == set()
    assert found(migrations.DeleteModel("Post"), used={("samples_thread", "title")}) == set()


def test_a_rule_is_broken_for_a_reason_that_is_said() -> None:
    index = migrations.AddIndex("thread", INDEX)
    said = "# rule: require-concurrent-index-creation (empty until the next release)"
    assert found(index, text=said) == set()
    assert found(index, text="# rule: require-concurrent-index-creation ()") == {"require-concurrent-index-creation"}
    assert found(index, text=f"{said}\n# rule: two-tables (idle)") == {"two-tables"}


def test_the_rules_begin_after_the_baseline_and_the_tree_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert rules.main() == 0, capsys.readouterr().out
