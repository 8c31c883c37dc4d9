"""Reading a roster file: Canvas SIS (users.csv, enrollments.csv), Canvas exports, and plain tables.

Columns are known by their names. A row that can't be used is named with its line and the reason; nothing is guessed.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.roster_diff import ACTIVE, COMPLETED, DROPPED, Problem, Wanted

MAX_ROWS = 10_000
MAX_BYTES = 5 * 1024 * 1024
MAX_SECTION, MAX_NAME, MAX_SIS_ID, MAX_EMAIL = 40, 80, 100, 254

# Names of columns, in lower case without blanks and signs.
COLUMNS = {
    "email": ("email", "emailaddress", "mail"),
    "login": ("loginid", "sisloginid", "login", "username"),
    "sis_id": ("userid", "sisuserid", "sisid", "studentid", "matriculationnumber"),
    "full_name": ("fullname", "name"),
    "display_name": ("displayname", "shortname"),
    "first_name": ("firstname", "givenname"),
    "last_name": ("lastname", "surname", "familyname"),
    "sortable_name": ("sortablename", "student"),
    "role": ("role", "courserole"),
    "section": ("section", "sectionname"),
    "section_id": ("sectionid", "sissectionid"),
    "status": ("status", "enrollmentstatus", "enrolmentstatus"),
    "course_id": ("courseid", "siscourseid"),
}
_FIELD_OF = {name: field for field, names in COLUMNS.items() for name in names}
_ABOUT_A_COURSE = {"role", "section", "section_id", "course_id"}

ROLES = {
    "student": "student", "studentenrollment": "student", "learner": "student",
    "ta": "ta", "taenrollment": "ta", "teachingassistant": "ta",
    "teacher": "instructor", "teacherenrollment": "instructor", "instructor": "instructor",
    # Roles we haven't got: they get the least there is.
    "observer": "student", "observerenrollment": "student",
    "designer": "student", "designerenrollment": "student",
}  # fmt: skip
STATUSES = {
    "active": ACTIVE, "completed": COMPLETED, "concluded": COMPLETED,
    "deleted": DROPPED, "deletedlastcompleted": DROPPED, "inactive": DROPPED, "suspended": DROPPED, "dropped": DROPPED,
}  # fmt: skip
_OTHER_FILES = {
    b"PK\x03\x04": "This is a ZIP or Excel file. Save the table as CSV and upload that.",
    b"\xd0\xcf\x11\xe0": "This is an Excel file. Save the table as CSV and upload that.",
    b"%PDF": "This is a PDF. Export the table as CSV and upload that.",
}
# What our own download puts an apostrophe before, so that no spreadsheet runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class FileRefused(Exception):
    """None of the file can be used; the message says why, in a sentence."""


@dataclass(frozen=True)
class Roster:
    """What one upload says."""

    wanted: tuple[Wanted, ...] = ()
    problems: tuple[Problem, ...] = ()
    # Rows about other courses.
    elsewhere: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "wanted": [[w.where, w.email, w.sis_id, w.name, w.role, w.section, w.status, w.note] for w in self.wanted],
            "problems": [[p.where, p.reason, p.email, p.sis_id] for p in self.problems],
            "elsewhere": self.elsewhere,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Roster":
        return cls(
            tuple(Wanted(*row) for row in content.get("wanted", ())),
            tuple(Problem(*row) for row in content.get("problems", ())),
            content.get("elsewhere", 0),
        )


@dataclass(frozen=True)
class _Row:
    """One row of a file: cells by field, stripped."""

    line: int
    where: str
    cells: dict[str, str]
    problem: str = ""

    def get(self, *fields: str) -> str:
        return next((self.cells[field] for field in fields if self.cells.get(field)), "")


@dataclass(frozen=True)
class _Table:
    fields: frozenset[str]
    rows: tuple[_Row, ...]

    @property
    def is_about_a_course(self) -> bool:
        return bool(self.fields & _ABOUT_A_COURSE)


def read_roster(files: Sequence[tuple[str, bytes]], *, course_names: Sequence[str] = ()) -> Roster:
    """Read a table of people, or one of people and one of enrollments.

    Args:
        files: name and content of each.
        course_names: what a file may call this course (`course_id`); it matters when it has rows of several.

    Raises `FileRefused` when a file can't be read at all.
    """
    if sum(len(data) for _, data in files) > MAX_BYTES:
        raise FileRefused("These files are larger than 5 MB together. Upload them in parts.")
    tables = [_read_table(name, data, named=len(files) > 1) for name, data in files]
    about_courses = [table for table in tables if table.is_about_a_course]
    listing = about_courses or tables
    if sum(len(table.rows) for table in tables) > MAX_ROWS:
        raise FileRefused("There are more than 10,000 rows. Upload them in parts.")
    people = {row.get("sis_id"): row for t in tables if t not in listing for row in t.rows if row.get("sis_id")}
    rows, elsewhere = _of_this_course([row for table in listing for row in table.rows], course_names)
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    for row in rows:
        said = _understand(row, people.get(row.get("sis_id")))
        if isinstance(said, Wanted):
            wanted.append(said)
        else:
            problems.append(said)
    kept, contradicting = _one_row_each(wanted)
    numbered = {row.where: number for number, row in enumerate(rows)}
    problems = sorted([*problems, *contradicting], key=lambda problem: numbered[problem.where])
    return Roster(tuple(kept), tuple(problems), elsewhere)


# From bytes to rows


def _read_table(name: str, data: bytes, *, named: bool) -> _Table:
    label = f"“{name}”: " if named else ""
    if not data.strip(b"\xef\xbb\xbf \r\n\t"):
        raise FileRefused(f"{label}This file is empty.")
    for start, reason in _OTHER_FILES.items():
        if data.startswith(start):
            raise FileRefused(f"{label}{reason}")
    text = _decode(data)
    if text is None:
        raise FileRefused(f"{label}The letters in this file can’t be read. Save it as CSV in UTF-8.")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=lambda sign: len(_fields_of(first, sign)))
    fields = _fields_of(first, delimiter)
    if not set(fields.values()) & {"email", "login", "sis_id"}:
        raise FileRefused(
            f"{label}The first line must name the columns, and one of them must be email, login_id or user_id. "
            "Other columns that are used: name, role, section, status, course_id."
        )
    rows: list[_Row] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    last, header_seen = 0, False
    try:
        for cells in reader:
            line, last = last + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if not header_seen:
                header_seen = True
                continue
            if len(rows) >= MAX_ROWS:
                raise FileRefused(f"{label}There are more than 10,000 rows. Upload them in parts.")
            row = _row(cells, fields, line, last, f"{name}, line {line}" if named else f"line {line}")
            if row is not None:
                rows.append(row)
    except csv.Error:
        raise FileRefused(f"{label}Line {last + 1} can’t be read as a table: it is far too long.") from None
    if not rows:
        raise FileRefused(f"{label}There is nobody in this file: it has a header and no rows.")
    return _Table(frozenset(fields.values()), tuple(rows))


def _decode(data: bytes) -> str | None:
    """Return the text, in whichever of the usual encodings it is; None in none."""
    codecs = ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252")
    for codec in codecs:
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            continue
    return None


def _fields_of(header: str, delimiter: str) -> dict[int, str]:
    """Return which column holds which field: the first one of each name counts."""
    found: dict[int, str] = {}
    for number, cell in enumerate(next(csv.reader([header], delimiter=delimiter), [])[:200]):
        field = _FIELD_OF.get(_plain(cell))
        if field is not None and field not in found.values():
            found[number] = field
    return found


def _row(cells: list[str], fields: dict[int, str], line: int, last: int, where: str) -> _Row | None:
    """Return a row; None for one that is about nobody, as exports of marks have."""
    named = {fields[number]: cell for number, cell in enumerate(cells) if number in fields}
    if any("\n" in cell or "\r" in cell for cell in named.values()):
        lines = f"Lines {line} to {last} were read as one" if last > line else "This line has a line end within a cell"
        return _Row(line, where, {}, f'{lines}: a quotation mark (") isn’t closed.')
    tidy = {field: " ".join(_without_apostrophe(cell).split()) for field, cell in named.items()}
    if tidy.get("sortable_name") == "Points Possible" or (
        tidy.get("sortable_name") in ("Student, Test", "Test Student") and not tidy.get("email")
    ):
        return None
    if any(not character.isprintable() or character == "\ufffd" for cell in tidy.values() for character in cell):
        return _Row(line, where, {}, "There are damaged or invisible characters in this line. Type it again.")
    return _Row(line, where, tidy)


def _without_apostrophe(cell: str) -> str:
    """Take off what our own download puts before text that looks like a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip(" ").startswith(_FORMULA) else cell


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


# From rows to people


def _of_this_course(rows: list[_Row], names: Iterable[str]) -> tuple[list[_Row], int]:
    """Return the rows about this course and how many are about others."""
    courses = {row.get("course_id"): None for row in rows if row.get("course_id")}
    ours = {_plain(name) for name in names if name}
    if len(courses) <= 1 and not any(_plain(course) in ours for course in courses):
        return rows, 0
    chosen = {course for course in courses if _plain(course) in ours}
    if not chosen:
        some = ", ".join(list(courses)[:5])
        raise FileRefused(
            f"The file has rows of {len(courses)} courses ({some}). Type the course_id of this one below and upload it again."
        )
    kept = [row for row in rows if row.get("course_id") in chosen or not row.get("course_id")]
    return kept, len(rows) - len(kept)


def _understand(row: _Row, person: _Row | None) -> Wanted | Problem:
    """Return what a row says, with what the table of people adds; or why it can't be used."""
    about = replace(row, cells={**(person.cells if person else {}), **{k: v for k, v in row.cells.items() if v}})
    login = about.get("login")
    email = (about.get("email") or (login if "@" in login else "")).lower()
    sis_id = about.get("sis_id")

    def problem(reason: str) -> Problem:
        return Problem(row.where, reason, email[:MAX_EMAIL], sis_id[:MAX_SIS_ID])

    if row.problem or (person is not None and person.problem):
        return problem(row.problem or f"{person.where if person else ''}: {person.problem if person else ''}")
    if not email and not sis_id:
        return problem("There is no e-mail address in this line.")
    if email and not _is_email(email):
        return problem(f"“{email[:80]}” isn’t an e-mail address.")
    if len(sis_id) > MAX_SIS_ID:
        return problem(f"The SIS id is longer than {MAX_SIS_ID} characters.")
    section = about.get("section", "section_id") if {"section", "section_id"} & row.cells.keys() else None
    if section is not None and len(section) > MAX_SECTION:
        return problem(f"The section’s name has {len(section)} characters. Up to {MAX_SECTION} fit.")
    role = about.get("role")
    if role and _plain(role) not in ROLES:
        return problem(f"There is no role “{role[:80]}” here. Write student, ta or teacher.")
    statuses = [cell for cell in (row.get("status"), person.get("status") if person else "") if cell]
    unknown = next((status for status in statuses if _plain(status) not in STATUSES), "")
    if unknown:
        return problem(f"There is no status “{unknown[:80]}” here. Write active, completed, inactive or deleted.")
    meant = [STATUSES[_plain(status)] for status in statuses]
    missing = _plain(role).removesuffix("enrollment") in ("observer", "designer")
    return Wanted(
        row.where, email, sis_id, _name(about)[:MAX_NAME],
        ROLES[_plain(role)] if role else None,
        section,
        DROPPED if DROPPED in meant else (meant[0] if meant else None),
        f"The list says {role}: there is no such role here, so they would be a student." if missing else "",
    )  # fmt: skip


def _name(row: _Row) -> str:
    name = row.get("full_name", "display_name") or " ".join(filter(None, (row.get("first_name"), row.get("last_name"))))
    if not name:
        last, _, first = row.get("sortable_name").partition(",")
        name = f"{first.strip()} {last.strip()}"
    return name.strip()


def _is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= MAX_EMAIL


def _one_row_each(wanted: Sequence[Wanted]) -> tuple[list[Wanted], list[Problem]]:
    """Return one row per person, and those that repeat or contradict one another."""
    emails: dict[str, set[str]] = {}
    ids: dict[str, set[str]] = {}
    for row in wanted:
        if row.email and row.sis_id:
            emails.setdefault(row.sis_id, set()).add(row.email)
            ids.setdefault(row.email, set()).add(row.sis_id)
    problems = []
    groups: dict[str, list[Wanted]] = {}
    for row in wanted:
        if row.sis_id and len(emails.get(row.sis_id, ())) > 1:
            problems.append(
                _refused(row, f"The SIS id {row.sis_id} stands beside several addresses. None of them counts.")
            )
        elif row.email and len(ids.get(row.email, ())) > 1:
            problems.append(_refused(row, f"{row.email} stands beside several SIS ids. None of them counts."))
        else:
            email = row.email or next(iter(emails.get(row.sis_id, ())), "")
            groups.setdefault(email or f"\n{row.sis_id}", []).append(row)
    kept = []
    for rows in groups.values():
        # Who changes section is `deleted` in one line and `active` in the next.
        alive = [row for row in rows if row.status != DROPPED] or rows
        first, *others = alive
        different = [name for name in ("role", "section", "status") if len({getattr(row, name) for row in alive}) > 1]
        if different:
            lines = " and ".join(row.where for row in alive[:5])
            said = f"{lines} say different things about this person ({', '.join(different)}). None of them counts."
            problems += [_refused(row, said[0].upper() + said[1:]) for row in alive]
            continue
        full = [row for row in alive if row.email and row.sis_id]
        kept.append(replace(first, email=full[0].email, sis_id=full[0].sis_id) if full else first)
        problems += [_refused(row, f"Says the same as {first.where}. It counts once.") for row in others]
    return kept, problems


def _refused(row: Wanted, reason: str) -> Problem:
    return Problem(row.where, reason, row.email, row.sis_id)
