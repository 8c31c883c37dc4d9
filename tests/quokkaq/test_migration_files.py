"""The history of the schema is one line that can be gone along both ways."""

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.special import SeparateDatabaseAndState

from ops.rules.migrations import BASELINE

APPS = tuple(BASELINE)


def ours() -> dict[tuple[str, str], object]:
    return {key: node for key, node in MigrationLoader(None).disk_migrations.items() if key[0] in APPS}


def test_each_app_has_one_line_of_migrations() -> None:
    loader = MigrationLoader(None)
    for app in APPS:
        names = sorted(name for of, name in loader.disk_migrations if of == app)
        assert len(loader.graph.leaf_nodes(app)) == len(loader.graph.root_nodes(app)) == 1, app
        # Each stands on the one before it, and on no other of its app.
        for before, name in zip([None, *names], names, strict=False):
            parents = {of for label, of in loader.disk_migrations[app, name].dependencies if label == app}
            assert parents == ({before} if before else set()), (app, name)
        assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), app


def test_what_every_migration_does_can_be_taken_back() -> None:
    for key, migration in ours().items():
        for operation in _all(migration.operations):  # type: ignore[attr-defined]  # set at run time, or typed as its base
            assert operation.reversible, f"{key}: {operation.describe()}"


def _all(operations: list[Operation]) -> list[Operation]:
    """Return operations, and those inside of them."""
    inner = [
        part for operation in operations if isinstance(operation, SeparateDatabaseAndState)
        for part in (*operation.database_operations, *operation.state_operations)
    ]  # fmt: skip
    return [*operations, *(_all(inner) if inner else [])]


def test_no_migration_stands_on_one_that_comes_after_it() -> None:
    """An app knows only apps below it: going back over one takes none of the lower ones along that it doesn't have to."""
    order = ["accounts", "forum", "ai_answers", "quokkaq"]
    for (app, name), migration in ours().items():
        above = {label for label, _ in migration.dependencies if label in order[order.index(app) + 1 :]}  # type: ignore[attr-defined]  # set at run time, or typed as its base
        assert not above, (app, name)
