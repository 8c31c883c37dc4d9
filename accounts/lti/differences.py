"""What would change if a course's people were those of a list: pure, for a dry run and for doing exactly that."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    ADD = "add"
    RETURN = "return"
    ROLE = "role"
    DROP = "drop"


@dataclass(frozen=True)
class Person:
    """Somebody in the course now, or in the list. `role` and `status` are values of the enums of the same name.

    In a list, `status` is `active` or `dropped`, and `role_known` False means the list says no role we know: then whoever
    is in the course already keeps theirs.
    """

    email: str
    name: str
    role: str
    status: str
    sub: str = ""
    section: str = ""
    role_known: bool = True
    # Kept as they are, whatever a list says.
    fixed: bool = False


@dataclass(frozen=True)
class Change:
    """One line of a dry run."""

    kind: Kind
    person: Person
    role: str
    old_role: str = ""

    @property
    def key(self) -> str:
        """Name this very change: another role, or another kind of change, has another key."""
        return _digest([self.kind, self.person.sub, self.person.email, self.role, self.old_role])


def diff(current: Iterable[Person], wanted: Iterable[Person]) -> list[Change]:
    """Return what makes `current` into `wanted`, in a fixed order.

    People are matched by `sub` where both sides have one, else by e-mail address. Who is in the course with a `sub` and
    not in the list is dropped; who has none was never of the list, and stays.
    """
    here = list(current)
    by_sub = {person.sub: person for person in here if person.sub}
    by_email = {person.email: person for person in here if person.email}
    changes, met = [], set[int]()
    for new in wanted:
        old = by_sub.get(new.sub) if new.sub else None
        if old is None and new.email:
            found = by_email.get(new.email)
            # Somebody whose `sub` is another one is somebody else, whatever the address says.
            old = found if found is not None and not (found.sub and new.sub and found.sub != new.sub) else None
        if old is not None:
            if id(old) in met:
                continue
            met.add(id(old))
        change = _change(old, new)
        if change is not None:
            changes.append(change)
    gone = [old for old in here if old.sub and id(old) not in met and old.status == "active" and not old.fixed]
    changes += [Change(Kind.DROP, old, old.role) for old in gone]
    order = list(Kind)
    return sorted(
        changes,
        key=lambda change: (order.index(change.kind), change.person.name.lower(), change.person.email, change.key),
    )


def _change(old: Person | None, new: Person) -> Change | None:
    if old is None:
        return Change(Kind.ADD, new, new.role) if new.status == "active" else None
    if old.fixed or old.status == "completed":
        return None
    if new.status != "active":
        return Change(Kind.DROP, old, old.role) if old.status == "active" else None
    if old.status == "dropped":
        return Change(Kind.RETURN, old, new.role)
    if new.role_known and new.role != old.role:
        return Change(Kind.ROLE, old, new.role, old.role)
    return None


def fingerprint(changes: Iterable[Change]) -> str:
    """Return a mark of a whole dry run: one that would do something else has another."""
    return _digest([asdict(change) for change in changes])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
