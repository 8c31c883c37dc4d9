"""Changes of a large table while it is read and written, which a run that was killed can do again.

Each stands alone in a migration with `atomic = False` (`ops/rules/migrations.py` sees to it).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres import operations
from django.db.migrations import AddConstraint
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.models import UniqueConstraint


class AddIndexConcurrently(operations.AddIndexConcurrently):
    """Django's own, that finds what a killed run left: an index that is whole is kept, a half one built again."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with _patience(schema_editor):
            if not _is_built(schema_editor, self.index.name):
                super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with _patience(schema_editor):
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class RemoveIndexConcurrently(operations.RemoveIndexConcurrently):
    """Django's own, whose way back finds what a killed run left."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with _patience(schema_editor):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        with _patience(schema_editor):
            if not _is_built(schema_editor, self.name):
                super().database_backwards(app_label, schema_editor, from_state, to_state)


class AddUniqueConcurrently(operations.NotInTransactionMixin, AddConstraint):
    """A unique constraint of columns, whose index is built beside reading and writing and then made the constraint.

    One with a condition is but an index, and stays that. Raises `IntegrityError` where rows stand against it.
    """

    atomic = False
    constraint: UniqueConstraint

    def __init__(self, model_name: str, constraint: UniqueConstraint) -> None:
        if not isinstance(constraint, UniqueConstraint) or constraint.expressions or constraint.deferrable:
            raise TypeError("AddUniqueConcurrently takes a UniqueConstraint of fields that isn't deferrable.")
        super().__init__(model_name, constraint)

    def describe(self) -> str:
        return f"Concurrently create unique constraint {self.constraint.name} on model {self.model_name}"

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._ensure_not_in_transaction(schema_editor)
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        table, name = schema_editor.quote_name(model._meta.db_table), schema_editor.quote_name(self.constraint.name)
        with _patience(schema_editor):
            if not _is_built(schema_editor, self.constraint.name):
                if self.constraint.condition is None:
                    columns = [model._meta.get_field(field).column for field in self.constraint.fields]
                    made = (
                        f"CREATE UNIQUE INDEX {name} ON {table} ({', '.join(map(schema_editor.quote_name, columns))})"
                    )
                else:
                    made = str(self.constraint.create_sql(model, schema_editor))
                made = made.replace("CREATE UNIQUE INDEX", "CREATE UNIQUE INDEX CONCURRENTLY", 1)
                # rule: raw-sql (the schema editor's own statement)
                schema_editor.execute(made, params=None)
        if self.constraint.condition is None and not _is_constraint(schema_editor, self.constraint.name):
            # rule: raw-sql (names of our own tables, quoted)
            schema_editor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")


class RemoveKeyIndexesConcurrently(operations.NotInTransactionMixin, Operation):
    """Take away the indexes that Django makes for foreign keys, where another one begins with the same column.

    Args:
        keys: names of models, and for each the names of its keys.
    """

    atomic = False
    reversible = True
    category = OperationCategory.ALTERATION

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self.keys = keys

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [], {"keys": self.keys}

    def describe(self) -> str:
        return f"Concurrently remove indexes of foreign keys of {', '.join(self.keys)}"

    def state_forwards(self, app_label: str, state: Any) -> None:
        for model_name, names in self.keys.items():
            for name in names:
                field = state.models[app_label, model_name].get_field(name).clone()
                field.db_index = False
                state.alter_field(app_label, model_name, name, field, preserve_default=True)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._ensure_not_in_transaction(schema_editor)
        with _patience(schema_editor):
            for _, _, name in self._indexes(app_label, schema_editor, from_state):
                # rule: raw-sql (a name of our own, quoted)
                schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        self._ensure_not_in_transaction(schema_editor)
        with _patience(schema_editor):
            for table, column, name in self._indexes(app_label, schema_editor, to_state):
                if not _is_built(schema_editor, name):
                    quoted = [schema_editor.quote_name(part) for part in (name, table, column)]
                    # rule: raw-sql (names of our own, quoted)
                    schema_editor.execute("CREATE INDEX CONCURRENTLY {} ON {} ({})".format(*quoted))

    def _indexes(self, app_label: str, schema_editor: Any, state: Any) -> Iterator[tuple[str, str, str]]:
        """Yield table, column and name of each index, as Django named it."""
        for model_name, names in self.keys.items():
            model = state.apps.get_model(app_label, model_name)
            if self.allow_migrate_model(schema_editor.connection.alias, model):
                for name in names:
                    table, column = model._meta.db_table, model._meta.get_field(name).column
                    yield table, column, schema_editor._create_index_name(table, [column], suffix="")


@contextmanager
def _patience(schema_editor: Any) -> Iterator[None]:
    """Wait inside the block as long as it takes: nobody who reads or writes waits behind an index that is built concurrently.

    It waits for each transaction that was open before it, and would be half done when its patience ended.
    """
    if schema_editor.collect_sql:
        yield
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SET lock_timeout = 0")
        yield
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def _is_built(schema_editor: Any, name: str) -> bool:
    """Tell whether an index is there and whole. One that isn't whole goes."""
    if schema_editor.collect_sql:
        return False
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(quote_ident(%s))", [name])
        found = cursor.fetchone()
        if found is None:
            return False
        if not found[0]:
            # rule: raw-sql (a name of our own, quoted)
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")
        return bool(found[0])


def _is_constraint(schema_editor: Any, name: str) -> bool:
    if schema_editor.collect_sql:
        return False
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_constraint WHERE conname = %s AND conindid = to_regclass(quote_ident(%s))", [name, name]
        )
        return cursor.fetchone() is not None
