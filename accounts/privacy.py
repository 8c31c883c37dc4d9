"""Where all that is kept about a person lies: what their copy holds, and what becomes of it when they are erased.

Each app says it of its own tables when it starts. A test walks all models: one that points at people, and that nobody
has said anything about, fails it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import models, transaction

from accounts.models import User

# Rows erased in one transaction: short, so that nobody waits for them.
BATCH = 500
# What stands in a copy of no row, and why.
OURS = {
    "institution": "it is the same for all",
    "body_html": "it is made from the text",
    "html_version": "it is made from the text",
    "submission_key": "it only keeps a form from being sent twice",
}


@dataclass(frozen=True)
class Gone:
    """The rows are deleted."""


@dataclass(frozen=True)
class Stays:
    """The rows stay, under “Deleted user”."""

    why: str


@dataclass(frozen=True)
class Changed:
    """The rows stay with these values instead, which tie them to nobody: `mine` finds them no more."""

    values: Mapping[str, Any]
    why: str


Fate = Gone | Stays | Changed


@dataclass(frozen=True)
class PersonalData:
    """One kind of row that is a person's own.

    `mine` returns their rows; `owners` are the fields that point at the person. A copy holds every column but those in
    `without` (with the reason), and what `also` looks up beside them (name → look-up).
    """

    name: str
    title: str
    model: type[models.Model]
    owners: tuple[str, ...]
    mine: Callable[[User], "models.QuerySet[Any]"]
    fate: Fate
    explains: str = ""
    without: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, Any] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """Return the columns a copy holds."""
        left_out = {**OURS, **self.without}
        return [column.attname for column in self.model._meta.concrete_fields if column.name not in left_out]

    def rows(self, person: User) -> Iterator[dict[str, Any]]:
        """Yield the rows of a copy, oldest first."""
        names = {name: models.F(path) if isinstance(path, str) else path for name, path in self.also.items()}
        yield from self.mine(person).order_by("pk").values(*self.columns(), **names).iterator(chunk_size=BATCH)

    def erase(self, person: User) -> int:
        """Let the next rows meet their fate; return how many there were. Zero: all is done."""
        if isinstance(self.fate, Stays):
            return 0
        with transaction.atomic():
            keys = list(self.mine(person).order_by("pk").values_list("pk", flat=True)[:BATCH])
            found = self.model._base_manager.filter(pk__in=keys)
            if isinstance(self.fate, Changed):
                found.update(**self.fate.values)
            else:
                found.delete()
        return len(keys)


@dataclass(frozen=True)
class Reference:
    """A column that points at a person without the row being theirs. Kept, it shows “Deleted user”; emptied, nobody."""

    model: type[models.Model]
    field: str
    why: str
    # What the row says once nobody is meant: the column, and what goes with it.
    emptied: Mapping[str, Any] | None = None

    def erase(self, person: User) -> int:
        if self.emptied is None:
            return 0
        with transaction.atomic():
            found = self.model._base_manager.filter(**{self.field: person}).order_by("pk")
            keys = list(found.values_list("pk", flat=True)[:BATCH])
            self.model._base_manager.filter(pk__in=keys).update(**self.emptied)
        return len(keys)


# Does one batch of something for a person; returns how much there was, zero once all is done.
Step = Callable[[User], int]
_parts: dict[str, PersonalData] = {}
_references: dict[tuple[str, str], Reference] = {}
_others: dict[str, str] = {}
_before: list[Step] = []


def register(*parts: PersonalData) -> None:
    """Say what is a person's own."""
    for part in parts:
        _parts[part.name] = part


def refer(*references: Reference) -> None:
    """Say which columns point at people although the rows aren't theirs."""
    for reference in references:
        _references[reference.model._meta.label, reference.field] = reference


def not_personal(models_and_reasons: Mapping[type[models.Model], str]) -> None:
    """Say which tables hold nothing of a person's own, and why."""
    _others.update({model._meta.label: why for model, why in models_and_reasons.items()})


def erase_first(step: Step) -> None:
    """Do something to a person's things before rows go: `step` does a batch of it and returns how many there were."""
    _before.append(step)


def parts() -> list[PersonalData]:
    return list(_parts.values())


def references() -> list[Reference]:
    return list(_references.values())


def others() -> dict[str, str]:
    """Return the tables that hold nothing of a person's own, by label, with the reason."""
    return dict(_others)


def steps() -> list[Step]:
    """Return what erases a person, in order. Each does one batch, and is done when it returns zero."""
    return [
        *_before,
        *(part.erase for part in _parts.values()),
        *(reference.erase for reference in _references.values()),
    ]
