"""What a list of people would change in a course: computed from values, changing nothing.

A roster file and a platform's list of members both become `Wanted` rows; what the course has now becomes `Standing`s.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from uuid import UUID

ACTIVE, COMPLETED, DROPPED, INVITED = "active", "completed", "dropped", "invited"
STUDENT = "student"


class Kind(StrEnum):
    INVITE = "invite"  # has no account at the institution: gets an invitation
    ADD = "add"  # has an account and isn't in the course
    RETURN = "return"  # had dropped it
    CHANGE = "change"
    DROP = "drop"
    NOTE = "note"  # changes nothing, and should be seen


@dataclass(frozen=True)
class Standing:
    """What somebody is in the course now; `invited` and without a `person` while they have only been asked."""

    key: UUID
    person: UUID | None
    email: str
    name: str
    role: str
    section: str
    status: str
    sis_id: str = ""


@dataclass(frozen=True)
class Wanted:
    """What somebody is to be. `None` says nothing about it; `where` is where the list says so, in words."""

    where: str
    email: str = ""
    sis_id: str = ""
    name: str = ""
    role: str | None = None
    section: str | None = None
    status: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Problem:
    """A row that isn't used, and why. Who it seems to be about doesn't count as missing from the list."""

    where: str
    reason: str
    email: str = ""
    sis_id: str = ""


@dataclass(frozen=True)
class Field:
    """One value that becomes another."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Change:
    """What happens to one person. `key` is of the enrollment, or of the invitation where `person` is None."""

    kind: Kind
    email: str
    name: str
    role: str
    section: str
    status: str
    sis_id: str = ""
    key: UUID | None = None
    person: UUID | None = None
    where: str = ""
    fields: tuple[Field, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Diff:
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()
    unchanged: int = 0

    def of(self, kind: Kind) -> list[Change]:
        return [change for change in self.changes if change.kind == kind]

    @property
    def acts(self) -> list[Change]:
        """The changes that do something."""
        return [change for change in self.changes if change.kind != Kind.NOTE]

    @property
    def mark(self) -> str:
        """A mark of what would be done: two that are equal do the same to the same people."""
        acts = [
            [c.kind, c.email, str(c.key), str(c.person), c.role, c.section, c.status, c.sis_id,
             [[f.name, f.old, f.new] for f in c.fields]]
            for c in self.acts
        ]  # fmt: skip
        problems = [[p.where, p.reason] for p in self.problems]
        return hashlib.sha256(json.dumps([sorted(acts), problems]).encode()).hexdigest()[:32]


def diff(
    current: Iterable[Standing],
    wanted: Sequence[Wanted],
    *,
    known: Mapping[str, UUID],
    me: UUID | None = None,
    drop_missing: bool = False,
    problems: Sequence[Problem] = (),
) -> Diff:
    """Return what has to change for the course to be as wanted.

    Args:
        current: everybody in the course, dropped ones and open invitations too.
        wanted: at most one row per person, as far as the list itself can tell.
        known: address → person, of the institution's accounts that `wanted` names.
        me: who asks; nobody changes their own role or status.
        drop_missing: people who are in the course and not in the list are dropped.
        problems: rows that couldn't be read; they are handed on.
    """
    return _Comparison(list(current), known, me).run(wanted, drop_missing, problems)


@dataclass
class _Comparison:
    current: list[Standing]
    known: Mapping[str, UUID]
    me: UUID | None
    changes: list[Change] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    unchanged: int = 0

    def run(self, wanted: Sequence[Wanted], drop_missing: bool, problems: Sequence[Problem]) -> Diff:
        self.by_email = {row.email: row for row in self.current}
        self.by_sis = {row.sis_id: row for row in self.current if row.sis_id}
        # An account is found by its address; who is in the course also by the account, should the address differ.
        self.by_person = {row.person: row for row in self.current if row.person is not None}
        met: dict[UUID, list[Wanted]] = {}
        found: list[tuple[Wanted, Standing | None]] = []
        for row in wanted:
            standing, reason = self._find(row)
            if reason:
                self._refuse(row, reason)
                continue
            found.append((row, standing))
            if standing is not None:
                met.setdefault(standing.key, []).append(row)
        for row, standing in found:
            twice = met[standing.key] if standing is not None else []
            if len(twice) > 1:
                others = " and ".join(other.where for other in twice if other is not row)
                self._refuse(
                    row, f"This is the same person as in {others}, under another address. None of them counts."
                )
            elif standing is None:
                self._add(row)
            else:
                self._compare(row, standing)
        if drop_missing:
            self._drop_all_but(met, [*problems, *self.refused])
        order = sorted(self.changes, key=lambda change: (change.name.casefold() or change.email, change.email))
        return Diff(tuple(order), (*problems, *self.refused), self.unchanged)

    def _find(self, row: Wanted) -> tuple[Standing | None, str]:
        """Return who in the course the row is about, or why that can't be said."""
        by_sis = self.by_sis.get(row.sis_id) if row.sis_id else None
        by_email = self.by_email.get(row.email) if row.email else None
        account = self.known.get(row.email)
        if by_sis is not None:
            if by_email is not None and by_email.key != by_sis.key:
                return None, f"The SIS id {row.sis_id} is {by_sis.name}’s here, and {row.email} is {by_email.name}’s."
            if by_email is None and account is not None and account != by_sis.person:
                return (
                    None,
                    f"The SIS id {row.sis_id} is {by_sis.name}’s here, and {row.email} is somebody else’s account.",
                )
            return by_sis, ""
        if not row.email:
            return (
                None,
                f"Nobody here has the SIS id {row.sis_id}, and there is no e-mail address to find or invite them by.",
            )
        if by_email is not None and row.sis_id and by_email.sis_id:
            return None, f"{by_email.name} has the SIS id {by_email.sis_id} here, and the list says {row.sis_id}."
        return by_email, ""

    def _refuse(self, row: Wanted, reason: str) -> None:
        self.refused.append(Problem(row.where, reason, row.email, row.sis_id))

    def _add(self, row: Wanted) -> None:
        """Add who isn't in the course: with an account at once, else by invitation. Who is gone stays so."""
        person = self.known.get(row.email)
        status = row.status or ACTIVE
        if status == DROPPED or (person is None and status == COMPLETED):
            self.unchanged += 1
            return
        kind = Kind.INVITE if person is None else Kind.ADD
        self.changes.append(Change(
            kind, row.email, row.name, row.role or STUDENT, row.section or "",
            INVITED if person is None else status, row.sis_id, None, person, row.where, (), row.note,
        ))  # fmt: skip

    def _compare(self, row: Wanted, now: Standing) -> None:
        if now.person is None and row.email in self.known and row.status != DROPPED:
            self._add(row)  # they have an account by now: no need to wait for them
            return
        status = row.status or (ACTIVE if now.status == DROPPED else now.status)
        if now.person is None and status != DROPPED:
            status = INVITED
        new = replace(
            now,
            role=now.role if row.role is None else row.role,
            section=now.section if row.section is None else row.section,
            status=status,
            sis_id=row.sis_id or now.sis_id,
        )
        if new.status == now.status == DROPPED:
            new = replace(new, role=now.role, section=now.section)
        elif new.status == DROPPED:
            new = replace(new, role=now.role, section=now.section, sis_id=now.sis_id)
        fields = tuple(
            Field(name, getattr(now, name), getattr(new, name))
            for name in ("role", "section", "status", "sis_id")
            if getattr(now, name) != getattr(new, name)
        )
        if now.person is not None and now.person == self.me and any(f.name in ("role", "status") for f in fields):
            self._refuse(row, "This is you. Your own role and status are changed by another instructor.")
            return
        kind = Kind.CHANGE
        if new.status == DROPPED != now.status:
            kind = Kind.DROP
        elif now.status == DROPPED and new.status == ACTIVE:
            kind = Kind.RETURN
        note = row.note
        if row.email and row.email != now.email:
            note = f"The list says {row.email}. Known by the SIS id; the address here stays. {note}".strip()
        if fields:
            self._note(kind, new, row.where, fields, note)
            return
        self.unchanged += 1
        if note:
            self._note(Kind.NOTE, new, row.where, (), note)

    def _note(self, kind: Kind, new: Standing, where: str, fields: tuple[Field, ...], note: str) -> None:
        self.changes.append(Change(
            kind, new.email, new.name, new.role, new.section, new.status, new.sis_id, new.key, new.person, where, fields, note
        ))  # fmt: skip

    def _drop_all_but(self, met: Collection[UUID], unread: Sequence[Problem]) -> None:
        """Drop who isn't in the list; never who asks, and nobody whom a row that isn't used seems to be about."""
        emails = {problem.email for problem in unread if problem.email}
        ids = {problem.sis_id for problem in unread if problem.sis_id}
        for row in self.current:
            if (
                row.key in met
                or row.status in (DROPPED, COMPLETED)
                or (row.person is not None and row.person == self.me)
            ):
                continue
            if row.email in emails or row.sis_id in ids:
                continue
            gone = replace(row, status=DROPPED)
            self._note(Kind.DROP, gone, "", (Field("status", row.status, DROPPED),), "Not in the list.")
