"""Roster files: whatever a school's system writes is read, and what can't be used is named with its line."""

import codecs
import io
import zipfile

import pytest

from accounts.roster_diff import Wanted
from accounts.roster_files import FileRefused, Roster, read_roster

USERS = """user_id,login_id,first_name,last_name,email,status
S1,sam1,Sam,Surname,SAM@example.edu,active
S2,noor1,Noor,Hassan,noor@example.edu,active
S3,gone1,Gone,Person,gone@example.edu,deleted
"""
ENROLLMENTS = """course_id,user_id,role,section_id,status
CS-101,S1,student,Mon,active
CS-101,S2,ta,,active
CS-101,S3,student,Mon,active
"""


def read(*texts: str | bytes, names: tuple[str, ...] = ()) -> Roster:
    files = [(f"f{n}.csv", text.encode() if isinstance(text, str) else text) for n, text in enumerate(texts)]
    return read_roster(files, course_names=names)


def values(roster: Roster) -> list[tuple[str, str, str, str | None, str | None, str | None]]:
    return [(row.email, row.sis_id, row.name, row.role, row.section, row.status) for row in roster.wanted]


def reasons(roster: Roster) -> list[tuple[str, str]]:
    return [(problem.where, problem.reason) for problem in roster.problems]


def refusal(*texts: str | bytes, names: tuple[str, ...] = ()) -> str:
    with pytest.raises(FileRefused) as refused:
        read(*texts, names=names)
    return str(refused.value)


# What is read


def test_people_and_enrollments_of_a_canvas_export_become_one_list_in_whichever_order_they_come() -> None:
    expected = [
        ("sam@example.edu", "S1", "Sam Surname", "student", "Mon", "active"),
        ("noor@example.edu", "S2", "Noor Hassan", "ta", "", "active"),
        ("gone@example.edu", "S3", "Gone Person", "student", "Mon", "dropped"),
    ]
    assert values(read(USERS, ENROLLMENTS)) == values(read(ENROLLMENTS, USERS)) == expected
    assert [row.where for row in read(USERS, ENROLLMENTS).wanted] == [f"f1.csv, line {n}" for n in (2, 3, 4)]
    # One of the two is a list, too: with what it says.
    assert values(read(USERS))[0] == ("sam@example.edu", "S1", "Sam Surname", None, None, "active")
    assert values(read(ENROLLMENTS))[1] == ("", "S2", "", "ta", "", "active")


def test_exports_of_the_people_page_and_of_marks_are_read() -> None:
    people = 'Name,Login ID,SIS ID,Section,Role,Last Activity\n"Noor Hassan",noor@example.edu,S2,"Mon, early",TA,now\n'
    assert values(read(people)) == [("noor@example.edu", "S2", "Noor Hassan", "ta", "Mon, early", None)]
    marks = (
        "Student,ID,SIS User ID,SIS Login ID,Section,Essay (1)\n    Points Possible,,,,,10\n"
        '"Hassan, Noor",17,S2,noor@example.edu,Mon,7\n"Student, Test",18,,,Mon,\n'
    )
    assert values(read(marks)) == [("noor@example.edu", "S2", "Noor Hassan", None, "Mon", None)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_spreadsheet_s_csv_says_the_same(delimiter: str, encoding: str, line_end: str) -> None:
    rows = [("Ignored", "Section", "E-Mail", "Name"), ("x", f"A{delimiter}B", "zoe@example.edu", "Zoë Müller")]
    text = line_end.join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    section = " ".join(f"A{delimiter}B".split())
    assert values(read(text.encode(encoding))) == [("zoe@example.edu", "", "Zoë Müller", None, section, None)]


def test_no_byte_is_read_as_a_letter_it_is_not() -> None:
    big = codecs.BOM_UTF16_BE + "email,name\na@example.edu,Zoë\u00a0 M".encode("utf-16-be")
    assert values(read(big)) == [("a@example.edu", "", "Zoë M", None, None, None)]
    assert "can’t be read" in refusal(b"email,name\na@example.edu,\x81\xfe\n")
    assert "can’t be read" in refusal(codecs.BOM_UTF16_LE + b"e\x00\xd8")


def test_our_own_download_comes_back_as_it_was() -> None:
    text = "Name,E-mail,Role,Section,Status\n'=Evil,a@example.edu,Teaching assistant,'+1,completed\n'Quoted,b@example.edu,Student,,dropped"
    assert values(read(text)) == [
        ("a@example.edu", "", "=Evil", "ta", "+1", "completed"),
        ("b@example.edu", "", "'Quoted", "student", "", "dropped"),
    ]


def test_formulas_stay_text() -> None:
    roster = read('email,name,section\na@example.edu,"=HYPERLINK(""http://x"")",@SUM(A1)\n')
    assert values(roster) == [("a@example.edu", "", '=HYPERLINK("http://x")', None, "@SUM(A1)", None)]


def test_roles_we_have_not_got_get_the_least_and_say_so_and_unknown_ones_get_none() -> None:
    roster = read(
        "email,role\n"
        + "\n".join(
            f"p{n}@example.edu,{role}"
            for n, role in enumerate(("StudentEnrollment", "Teacher", "designer", "ObserverEnrollment", "admin", ""))
        )
    )
    assert [row.role for row in roster.wanted] == ["student", "instructor", "student", "student", None]
    assert [bool(row.note) for row in roster.wanted] == [False, False, True, True, False]
    assert reasons(roster) == [("line 6", "There is no role “admin” here. Write student, ta or teacher.")]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("active", "active"), ("Completed", "completed"), ("concluded", "completed"), ("inactive", "dropped"),
     ("deleted", "dropped"), ("deleted_last_completed", "dropped"), ("", None)],
)  # fmt: skip
def test_states_of_canvas_are_ours(said: str, meant: str | None) -> None:
    assert values(read(f"email,status\na@example.edu,{said}"))[0][5] == meant


def test_rows_of_other_courses_are_left_out_and_counted() -> None:
    text = "course_id,email\nCS-101,a@example.edu\nMATH,b@example.edu\nMATH,c@example.edu\n"
    roster = read(text, names=("cs 101",))
    assert ([row.email for row in roster.wanted], roster.elsewhere) == (["a@example.edu"], 2)
    assert "rows of 2 courses (CS-101, MATH)" in refusal(text, names=("bio",))
    # One course only is this one, whatever the school calls it.
    assert len(read("course_id,email\nX-99,a@example.edu\n", names=("cs-101",)).wanted) == 1


# What isn't


def test_bad_rows_are_named_with_line_and_reason_and_the_others_are_used() -> None:
    long = "x" * 101
    roster = read(
        "email,name,section,status,user_id\n"
        "\n"
        "good@example.edu,Good,,,\n"
        "nobody,Bad,,,\n"
        ",Nameless,,,\n"
        f"s@example.edu,S,{'y' * 41},,\n"
        "t@example.edu,T,,retired,\n"
        f"u@example.edu,U,,,{long}\n"
        "v@example.edu,V\x00,,,\n"
        "w@example.edu,W\ufffd,,,\n"
        "short@example.edu\n"
        f"{'z' * 250}@example.edu,Z,,,\n"
    )
    assert [row.email for row in roster.wanted] == ["good@example.edu", "short@example.edu"]
    assert [where for where, _ in reasons(roster)] == [f"line {n}" for n in (4, 5, 6, 7, 8, 9, 10, 12)]
    said = " ".join(reason for _, reason in reasons(roster))
    for part in (
        "“nobody” isn’t",
        "no e-mail address in this line",
        "41 characters",
        "“retired”",
        "longer than 100",
        "invisible",
    ):
        assert part in said


def test_a_quotation_mark_that_is_not_closed_says_which_lines_it_swallowed() -> None:
    roster = read('email,name\na@example.edu,A\nb@example.edu,"B\nc@example.edu,C\nd@example.edu,D\n')
    assert [row.email for row in roster.wanted] == ["a@example.edu"]
    assert reasons(roster) == [("line 3", 'Lines 3 to 5 were read as one: a quotation mark (") isn’t closed.')]
    roster = read(b'email,name\n"b@example.edu\r",B\n')
    assert "line end within a cell" in reasons(roster)[0][1] or "were read as one" in reasons(roster)[0][1]


def test_what_repeats_counts_once_and_what_contradicts_counts_not_at_all() -> None:
    roster = read(
        "email,user_id,role,section\n"
        "a@example.edu,S1,student,Mon\n"
        "A@example.edu,S1,student,Mon\n"
        "b@example.edu,S2,student,Mon\n"
        "b@example.edu,S2,ta,Tue\n"
        "c@example.edu,S3,student,\n"
        "other@example.edu,S3,student,\n"
        "d@example.edu,S4,student,\n"
        "d@example.edu,S5,student,\n"
        ",S1,student,Mon\n"
    )
    assert [row.email for row in roster.wanted] == ["a@example.edu"]
    told = dict(reasons(roster))
    assert told["line 3"] == "Says the same as line 2. It counts once."
    assert (
        told["line 4"]
        == "Line 4 and line 5 say different things about this person (role, section). None of them counts."
    )
    assert told["line 6"] == "The SIS id S3 stands beside several addresses. None of them counts."
    assert told["line 8"] == "d@example.edu stands beside several SIS ids. None of them counts."
    assert list(told) == [f"line {n}" for n in (3, 4, 5, 6, 7, 8, 9, 10)]


def test_who_changed_sections_is_deleted_in_one_row_and_active_in_the_next() -> None:
    roster = read(
        "email,section,status\na@example.edu,Mon,deleted\na@example.edu,Tue,active\nb@example.edu,Mon,deleted\n"
    )
    assert values(roster) == [
        ("a@example.edu", "", "", None, "Tue", "active"), ("b@example.edu", "", "", None, "Mon", "dropped"),
    ]  # fmt: skip
    # An address in one row and the SIS id in another are one person.
    roster = read("email,user_id,section\n,S1,Mon\na@example.edu,S1,Mon\n")
    assert [(row.email, row.sis_id) for row in roster.wanted] == [("a@example.edu", "S1")]


def test_a_person_whose_row_is_damaged_is_not_enrolled_by_the_other_file() -> None:
    users = "user_id,email\nS1,a@example.edu\nS2,b@exa\x00mple.edu\n"
    roster = read(users, "course_id,user_id,role\nX,S1,student\nX,S2,student\n")
    assert [row.email for row in roster.wanted] == ["a@example.edu", ""]
    assert roster.wanted[1].sis_id == "S2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"), (b"\xef\xbb\xbf\n\n", "empty"), (b"email,name\n", "header and no rows"), (b"email\n\n\n", "no rows"),
        (b"a,b,c\n1,2,3\n", "must name the columns"), (b"just some text", "must name the columns"),
        (b"name,role\nSam,student\n", "must name the columns"), (b"%PDF-1.7 x", "PDF"),
        (b"\xd0\xcf\x11\xe0rest", "Excel"), (b"email\n" + b"x" * 200_000, "far too long"),
        (b"email\n" + b"a@example.edu\n" * 10_001, "more than 10,000"), (b"\x00" * 50, "must name the columns"),
    ],
)  # fmt: skip
def test_what_is_no_roster_is_refused_with_what_to_do(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_an_excel_file_called_csv_is_found_out() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("users.csv", USERS)
    assert "ZIP or Excel" in refusal(packed.getvalue())
    assert refusal(USERS, b"x").startswith("“f1.csv”: ")


def test_too_much_is_refused() -> None:
    assert "larger than 5 MB" in refusal(b"email\n" + b"a@example.edu," * 400_000)
    half = b"email\n" + b"".join(b"p%d@example.edu\n" % n for n in range(6_000))
    assert "more than 10,000" in refusal(half, half)
    assert len(read(b"email\n" + b"".join(b"p%d@example.edu\n" % n for n in range(10_000))).wanted) == 10_000


def test_what_was_read_survives_being_kept() -> None:
    roster = read(USERS + ",,,,nobody,\n", ENROLLMENTS + "X,S9,king,,\n", names=("cs-101",))
    assert Roster.from_json(roster.as_json()) == roster
    assert Roster.from_json({}) == Roster()
    assert isinstance(roster.wanted[0], Wanted)
