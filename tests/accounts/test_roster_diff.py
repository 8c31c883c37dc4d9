"""What a list of people would change, from values alone."""

import uuid
from dataclasses import replace

from accounts.roster_diff import Diff, Field, Kind, Problem, Standing, Wanted, diff

SAM, NOOR, ADA, PAT = (uuid.uuid4() for _ in range(4))


def standing(name: str, person: uuid.UUID | None, **values: str) -> Standing:
    defaults = {"role": "student", "section": "", "status": "active", "sis_id": ""} | values
    return Standing(uuid.uuid5(uuid.NAMESPACE_DNS, name), person, f"{name}@example.edu", name.title(), **defaults)


sam, noor = standing("sam", SAM), standing("noor", NOOR, section="Mon", sis_id="S2")
ada = standing("ada", ADA, role="instructor")
COURSE = [sam, noor, ada]
KNOWN = {"sam@example.edu": SAM, "noor@example.edu": NOOR, "ada@example.edu": ADA, "pat@example.edu": PAT}


def want(name: str, line: int = 2, **values: str | None) -> Wanted:
    return Wanted(f"line {line}", f"{name}@example.edu", **values)  # type: ignore[arg-type]  # each test names what it needs


def found(*wanted: Wanted, current: list[Standing] | None = None, **options: object) -> Diff:
    return diff(COURSE if current is None else current, wanted, known=KNOWN, me=ADA, **options)  # type: ignore[arg-type]  # the same


def acts(result: Diff) -> list[tuple[str, str]]:
    return [(change.kind.value, change.email.partition("@")[0]) for change in result.changes]


def test_a_list_that_says_what_is_so_changes_nothing() -> None:
    result = found(
        want("sam", role="student", section="", status="active"), want("noor"), want("ada", role="instructor")
    )
    assert (result.changes, result.problems, result.unchanged) == ((), (), 3)
    assert found() == Diff()


def test_the_new_the_changed_and_the_returning() -> None:
    dana = standing("dana", uuid.uuid4(), status="dropped", section="Mon")
    result = found(
        want("new", role="ta", section="Tue", sis_id="S9"),
        want("pat"),
        want("sam", role="ta", status="completed"),
        want("dana", section="Tue"),
        current=[*COURSE, dana],
    )
    assert acts(result) == [("return", "dana"), ("invite", "new"), ("add", "pat"), ("change", "sam")]
    back, invite, add, change = result.changes
    assert (invite.role, invite.section, invite.sis_id, invite.status, invite.person) == (
        "ta",
        "Tue",
        "S9",
        "invited",
        None,
    )
    assert (add.role, add.section, add.status, add.person) == ("student", "", "active", PAT)
    assert back.fields == (Field("section", "Mon", "Tue"), Field("status", "dropped", "active"))
    assert change.fields == (Field("role", "student", "ta"), Field("status", "active", "completed"))
    assert (change.key, change.section) == (sam.key, "")


def test_who_is_gone_is_not_fetched() -> None:
    dana = standing("dana", uuid.uuid4(), status="dropped", section="Mon")
    result = found(
        want("new", status="dropped"), want("other", status="completed"), want("dana", status="dropped", section="Tue"),
        current=[dana],
    )  # fmt: skip
    assert (result.changes, result.unchanged) == ((), 3)
    assert acts(found(want("pat", status="completed"))) == [("add", "pat")]
    (gone,) = found(want("noor", status="dropped", role="ta", section="Tue")).changes
    assert (gone.kind, gone.role, gone.section, gone.where) == (Kind.DROP, "student", "Mon", "line 2")


def test_people_not_in_the_list_stay_unless_it_was_asked() -> None:
    carl = standing("carl", uuid.uuid4(), status="completed")
    course = [*COURSE, carl, standing("asked", None, status="invited")]
    assert acts(found(want("sam"), current=course)) == []
    result = found(want("sam"), current=course, drop_missing=True)
    assert acts(result) == [("drop", "asked"), ("drop", "noor")]
    assert {change.note for change in result.changes} == {"Not in the list."}
    # Nobody is dropped because their row is damaged: by address, or by SIS id.
    unread = [Problem("line 3", "x", "asked@example.edu"), Problem("line 4", "x", "", "S2")]
    assert acts(found(want("sam"), current=course, drop_missing=True, problems=unread)) == []


def test_nobody_changes_their_own_role() -> None:
    for row in (want("ada", role="student"), want("ada", status="dropped"), want("ada", status="completed")):
        result = found(row)
        assert (result.changes, [p.where for p in result.problems]) == ((), ["line 2"])
        assert "This is you" in result.problems[0].reason
    assert acts(found(want("ada", section="Mon"))) == [("change", "ada")]


def test_a_changed_address_is_the_same_person_by_the_sis_id() -> None:
    result = found(replace(want("noor.new"), sis_id="S2", role="ta"))
    (change,) = result.changes
    assert (change.kind, change.email, change.person) == (Kind.CHANGE, "noor@example.edu", NOOR)
    assert "The list says noor.new@example.edu" in change.note
    seen = found(replace(want("noor.new"), sis_id="S2"))
    assert (acts(seen), seen.acts, seen.unchanged) == ([("note", "noor")], [], 1)
    assert acts(found(Wanted("line 2", "", "S2", section="Tue"))) == [("change", "noor")]


def test_a_sis_id_never_moves_to_somebody_else() -> None:
    for row, said in (
        (want("sam", sis_id="S2"), "S2 is Noor’s here, and sam@example.edu is Sam’s"),
        (want("pat", sis_id="S2"), "pat@example.edu is somebody else’s account"),
        (want("noor", sis_id="S7"), "Noor has the SIS id S2 here"),
        (Wanted("line 2", "", "S7"), "Nobody here has the SIS id S7"),
    ):
        result = found(row, drop_missing=True)
        assert said in result.problems[0].reason
        assert "noor" not in [who for kind, who in acts(result) if kind != "drop"]
    assert acts(found(want("sam", sis_id="S1"))) == [("change", "sam")]
    twice = found(want("noor"), replace(want("noor.new", 3), sis_id="S2"))
    assert [p.where for p in twice.problems] == ["line 2", "line 3"]
    assert twice.changes == ()


def test_who_is_only_invited_is_changed_joined_or_uninvited() -> None:
    asked = standing("asked", None, status="invited")
    course = [*COURSE, asked]
    assert found(want("asked", status="active"), current=course).unchanged == 1
    (change,) = found(want("asked", role="ta"), current=course).changes
    assert (change.kind, change.person, change.status) == (Kind.CHANGE, None, "invited")
    assert acts(found(want("asked", status="dropped"), current=course)) == [("drop", "asked")]
    known = KNOWN | {"asked@example.edu": PAT}
    result = diff(course, [want("asked")], known=known)
    assert [(c.kind, c.person) for c in result.changes] == [(Kind.ADD, PAT)]
    gone = diff(course, [want("asked", status="dropped")], known=known)
    assert [(c.kind, c.person) for c in gone.changes] == [(Kind.DROP, None)]


def test_a_role_we_have_not_got_is_seen_even_where_nothing_changes() -> None:
    result = found(want("sam", role="student", note="There is no such role."))
    assert acts(result) == [("note", "sam")]


def test_the_mark_tells_whether_the_same_would_be_done() -> None:
    one, two = want("sam", role="ta"), want("pat", 3)
    assert found(one, two).mark == found(two, one).mark
    assert len({found(one).mark, found(two).mark, found(one, two).mark, found().mark}) == 4
    assert found(one).mark != found(one, problems=[Problem("line 9", "x")]).mark
    noted = found(one, want("noor", note="Seen."))
    assert noted.mark == found(one).mark
    assert [c.kind for c in noted.of(Kind.NOTE)] == [Kind.NOTE]
