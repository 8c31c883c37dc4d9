"""Files are read: what people see of them, where it stands; and hostile ones do no harm."""

import io
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nbformat
import nbformat.v4 as notebook
import pypdfium2
import pytest
from docx import Document
from docx.oxml import OxmlElement
from pptx import Presentation
from pptx.util import Inches

from ai_answers.parsing import Parsed, Problem, Unreadable, sandbox
from ai_answers.parsing import docx as docx_parser
from ai_answers.parsing import html as html_parser
from ai_answers.parsing import ipynb as ipynb_parser
from ai_answers.parsing import office as office_limits
from ai_answers.parsing import pdf as pdf_parser
from ai_answers.parsing import pptx as pptx_parser
from ai_answers.parsing.base import SENTENCES, Builder, clean
from ai_answers.passages import MAX_CHARACTERS, cut


def read_file(data: bytes, format: str, *, seconds: float = 90) -> Parsed:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        return sandbox.read_file(file, format, seconds=seconds)


def make_pdf(pages: list[list[str]], *, count: int | None = None) -> bytes:
    """A PDF with lines of text on pages; `count` says how many pages it pretends to have, all of them the first."""
    kids = " ".join(f"{5 + 2 * n} 0 R" for n in range(len(pages)))
    if count is not None:
        kids = " ".join(["5 0 R"] * count)
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {count or len(pages)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    }
    for n, lines in enumerate(pages):
        said = b" T* ".join(b"(" + line.encode("cp1252").replace(b"(", b"\\(") + b") Tj" for line in lines)
        stream = b"BT /F1 12 Tf 14 TL 72 720 Td " + said + b" ET"
        objects[4 + 2 * n] = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)
        objects[5 + 2 * n] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        ).encode()
    out = bytearray(b"%PDF-1.4\n")
    places = {}
    for number, body in sorted(objects.items()):
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (max(places) + 1)
    for number in range(1, max(places) + 1):
        out += b"%010d 00000 n \n" % places[number]
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (max(places) + 1, start)
    return bytes(out)


def make_pptx() -> bytes:
    deck = Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "Recursion"
    first.placeholders[1].text = "A base case ends it.\nA step comes closer to it."
    first.notes_slide.notes_text_frame.text = "Draw the call stack."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Costs"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for row, texts in enumerate((("n", "calls"), ("3", "7"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    group = second.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 100, 100).text_frame.text = "Grouped words."
    secret = deck.slides.add_slide(deck.slide_layouts[1])
    secret.shapes.title.text = "Solution of the exam"
    secret._element.set("show", "0")
    last = deck.slides.add_slide(deck.slide_layouts[5])
    last.shapes.title.text = "Summary"
    return saved(deck.save)


def make_docx() -> bytes:
    document = Document()
    document.add_heading("Memory", 1)
    paragraph = document.add_paragraph("A pointer holds an ")
    hidden = paragraph.add_run("SECRET")
    hidden.font.hidden = True
    paragraph.add_run("address.")
    inserted = OxmlElement("w:ins")
    inserted.append(paragraph.add_run(" Inserted later.")._r)
    paragraph._p.append(inserted)
    deleted = OxmlElement("w:del")
    deleted.append(paragraph.add_run("DELETED")._r)
    paragraph._p.append(deleted)
    for text in ("First", "Second"):
        item = document.add_paragraph(text)
        numbering = item._p.get_or_add_pPr()._add_numPr()
        numbering.get_or_add_numId().val = 1
    document.add_heading("Types", 2)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "int", "4 bytes"
    return saved(document.save)


def make_notebook() -> bytes:
    cells = [
        notebook.new_markdown_cell("# Loops\n\nA loop repeats."),
        notebook.new_code_cell(
            "# not a heading\nprint(1)",
            outputs=[
                notebook.new_output("stream", text="\x1b[31m1\x1b[0m\n"),
                notebook.new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure size 1>"}),
                notebook.new_output("error", ename="E", evalue="x", traceback=["TRACE"]),
            ],
        ),
        notebook.new_markdown_cell("REMOVED", metadata={"tags": ["remove-cell"]}),
        notebook.new_markdown_cell("## While\n\nUntil."),
        notebook.new_raw_cell("RAW"),
    ]
    text: str = nbformat.writes(notebook.new_notebook(cells=cells))
    return text.encode()


def saved(save: Callable[[io.BytesIO], None]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def repacked(data: bytes, name: str, content: bytes) -> bytes:
    """The archive with one member replaced or added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        new.writestr(name, content)
    return out.getvalue()


def said(parsed: Parsed) -> list[tuple[str, str, int | None, str]]:
    return [
        (s.heading, s.locator_kind, s.locator, parsed.text[s.start : s.end]) for s in parsed.sections
    ]  # fmt: skip


def problem(data: bytes, format: str, seconds: float = 60) -> Problem:
    with pytest.raises(Unreadable) as caught:
        read_file(data, format, seconds=seconds)
    assert caught.value.sentence
    return caught.value.problem


# What is read


def test_a_presentation_is_read_slide_by_slide_with_notes_and_without_hidden_slides() -> None:
    assert said(read_file(make_pptx(), "pptx")) == [
        ("Recursion", "slide", 1, "Recursion\n\nA base case ends it.\nA step comes closer to it."),
        ("Recursion · notes", "slide", 1, "Draw the call stack."),
        ("Costs", "slide", 2, "Costs\n\nn | calls\n3 | 7\n\nGrouped words."),
        ("Summary", "slide", 4, "Summary"),
    ]


def test_a_word_file_is_read_by_headings_as_a_reader_sees_it() -> None:
    assert said(read_file(make_docx(), "docx")) == [
        ("Memory", "", None, "Memory\n\nA pointer holds an address. Inserted later.\n\nFirst\nSecond"),
        ("Types", "", None, "Types\n\nint | 4 bytes"),
    ]


def test_a_notebook_is_read_cell_by_cell_and_code_has_no_headings() -> None:
    parsed = read_file(make_notebook(), "ipynb")
    assert said(parsed) == [
        ("", "cell", 1, "# Loops\n\nA loop repeats."),
        ("Loops", "cell", 2, "# not a heading\nprint(1)\n\n1"),
        ("Loops", "cell", 4, "## While\n\nUntil."),
    ]
    assert [span.heading for span in cut(parsed)] == ["Loops", "Loops", "While"]
    assert [span.locator for span in cut(parsed)] == [1, 2, 4]


def test_a_web_page_is_read_without_what_nobody_sees() -> None:
    page = """<!doctype html><html><head><title>No</title><style>
      .gone, .box > .inner { display: none } /* .kept{display:none} */
      @media print { .kept { display: none } } a:hover { display: none }
      </style><script>no()</script></head><body><nav>Menu</nav><h1>Sets</h1><p>A set has <b>no</b>   order.
      <span hidden>HIDDEN</span><span style="display:none">HIDDEN</span><span aria-hidden=true>HIDDEN</span></p>
      <div class="gone x">HIDDEN</div><div class=box><i><b class=inner>HIDDEN</b></i><u class=kept>Kept.</u></div>
      <!-- HIDDEN --><p style="opacity: 0">HIDDEN</p><p style="opacity:0.5">Half seen.</p>
      <h2>Code</h2><pre>a\n    b</pre><ul><li>one<li>two</ul><table><tr><td>1<td>2</table>tail<br>end
      <noscript>HIDDEN</noscript><textarea>HIDDEN</textarea></body></html>"""
    parsed = read_file(page.encode(), "html")
    text = parsed.text
    assert "HIDDEN" not in text
    assert "Menu" not in text
    assert "no()" not in text
    assert [s.heading for s in parsed.sections] == ["Sets", "Code"]
    assert "A set has no order." in text
    assert "Kept." in text
    assert "Half seen." in text
    assert "a\n    b" in text
    assert "1 | 2" in text
    assert "tail\nend" in text


def test_a_web_page_is_read_in_the_encoding_it_declares() -> None:
    page = '<html><meta charset="iso-8859-1"><p>Größe'.encode("latin-1")
    assert "Größe" in read_file(page, "html").text
    assert problem(b'<html><meta charset="klingon"><p>\xff', "html") == Problem.NOT_UTF8


def test_a_pdf_is_read_page_by_page_with_words_whole_and_without_running_heads() -> None:
    pages = [
        ["Introduction to Logic", f"{word} begins the page.", "An implica-", "tion holds when a well-",
         f"known rule of {word} does.", f"It ends with {word}.", f"{n} of 5"]
        for n, word in enumerate(("Alpha", "Beta", "Gamma", "Delta", "Epsilon"), start=1)
    ]  # fmt: skip
    pages[0].insert(2, "A well-known word.")
    parsed = read_file(make_pdf(pages), "pdf")
    assert [(s.locator_kind, s.locator) for s in parsed.sections] == [("page", n) for n in range(1, 6)]
    assert "Introduction to Logic" not in parsed.text
    assert "of 5" not in parsed.text
    assert "An implication holds when a well-known rule of Beta does. It ends with Beta." in parsed.text.replace(
        "\n", " "
    )


def test_few_pages_are_too_few_to_tell_a_running_head() -> None:
    assert "Title" in read_file(make_pdf([["Title", "One."], ["Title", "Two."]]), "pdf").text


def test_ligatures_are_letters_and_capitals_keep_their_hyphen() -> None:
    known = Counter({"semi-final": 1})
    assert pdf_parser._joined("a semi-\nfinal in North-\nSouth, and hyphen-\nation", known) == (
        "a semi-final in North-South, and hyphenation"
    )
    assert "\ufb01n".translate(pdf_parser._LIGATURES) == "fin"


def test_markdown_is_cut_along_its_headings_and_offsets_are_exact() -> None:
    parsed = read_file("\ufeff# A\r\n\r\nEins.\r\n\r\n# B\r\n\r\nZwei – drei.".encode(), "markdown")
    assert [(s.heading, parsed.text[s.start : s.end]) for s in cut(parsed)] == [
        ("A", "# A\n\nEins."), ("B", "# B\n\nZwei – drei."),
    ]  # fmt: skip
    assert read_file("Größe".encode("utf-16"), "text").text == "Größe\n"


def test_a_page_without_empty_lines_is_cut_where_sentences_end() -> None:
    line = "This sentence is as long as a line of a page. It ends in the next\none after some words.\n"
    builder = Builder()
    builder.add(line * 60, "Chapter", "page", 3)
    builder.add("x" * 4000, "", "page", 4)
    parsed = builder.build()
    spans = cut(parsed)
    assert all(0 < span.end - span.start <= MAX_CHARACTERS for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    on_three = [parsed.text[span.start : span.end] for span in spans if span.locator == 3]
    assert len(on_three) > 2
    assert all(text.endswith(".") for text in on_three)
    covered = "".join(parsed.text[span.start : span.end] for span in spans)
    assert "".join(covered.split()) == "".join(parsed.text.split())


@pytest.mark.parametrize("format", ["pptx", "docx", "ipynb", "html", "pdf"])
def test_parsers_say_the_same_without_the_child(format: str) -> None:
    """The parsers themselves, in this process, so that their lines count as tested."""
    made = {
        "pptx": (pptx_parser, make_pptx()), "docx": (docx_parser, make_docx()), "ipynb": (ipynb_parser, make_notebook()),
        "html": (html_parser, b"<style>#x p.y{display:none}</style><h1>A</h1><p>B<div id=x><p class=y>C"),
        "pdf": (pdf_parser, make_pdf([["One page."]])),
    }  # fmt: skip
    module, data = made[format]
    assert module.parse(data) == read_file(data, format)


# What kind of file it is


# Hostile files


def test_archives_that_unpack_to_far_too_much_are_not_unpacked() -> None:
    spaces = b"<?xml version='1.0'?>" + b" " * (office_limits.MAX_XML + 1)
    began = time.monotonic()
    assert problem(repacked(make_pptx(), "ppt/slides/bomb.xml", spaces), "pptx") == Problem.BOMB
    assert problem(repacked(make_docx(), "word/bomb.xml", spaces), "docx") == Problem.BOMB
    assert time.monotonic() - began < 30


def test_an_archive_of_a_great_many_parts_is_not_read() -> None:
    out = io.BytesIO(make_docx())
    with zipfile.ZipFile(out, "a") as archive:
        for number in range(office_limits.MAX_MEMBERS + 1):
            archive.writestr(f"word/{number}", b"")
    assert problem(out.getvalue(), "docx") == Problem.BOMB


def test_entities_that_multiply_are_refused() -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    laughs = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{levels}]><x>&l9;</x>'.encode()
    assert problem(repacked(make_docx(), "word/document.xml", laughs), "docx") == Problem.BOMB
    assert problem(repacked(make_pptx(), "ppt/presentation.xml", laughs), "pptx") == Problem.BOMB
    # Written so that it isn't recognised, the parser leaves entities alone.
    odd = laughs.decode().replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="utf-16"?>').encode("utf-16")
    assert problem(repacked(make_docx(), "word/document.xml", odd), "docx") in {Problem.DAMAGED, Problem.NO_TEXT}
    # HTML knows no such entities: nothing grows.
    assert len(read_file(laughs + b"text", "html").text) < len(laughs)


def test_entities_cannot_read_files_of_the_server(tmp_path: Path) -> None:
    canary = tmp_path / "secret"
    canary.write_text("CANARY-8271")
    document = f'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY f SYSTEM "file://{canary}">]>'
    document += '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r>'
    document += "<w:t>before &f; after</w:t></w:r></w:p></w:body></w:document>"
    try:
        text = read_file(repacked(make_docx(), "word/document.xml", document.encode("utf-16")), "docx").text
    except Unreadable:
        text = ""
    assert "CANARY" not in text


def test_deep_nesting_ends_in_a_sentence() -> None:
    deep = b'{"nbformat": 4, "cells": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert problem(deep, "ipynb") in {Problem.DAMAGED, Problem.CRASHED}
    page = b"<html><p>top</p>" + b"<div>" * 100_000 + b"bottom"
    assert "top" in read_file(page, "html").text


def test_shapes_grouped_without_end_are_refused() -> None:
    deck = Presentation()
    shapes = deck.slides.add_slide(deck.slide_layouts[6]).shapes
    for _ in range(pptx_parser.MAX_DEPTH + 5):
        shapes = shapes.add_group_shape().shapes
    shapes.add_textbox(0, 0, 9, 9).text_frame.text = "deep"
    assert problem(saved(deck.save), "pptx") == Problem.BOMB


def test_a_pdf_of_a_hundred_thousand_pages_is_not_read() -> None:
    assert problem(make_pdf([["x"]], count=100_000), "pdf") == Problem.TOO_MANY_PAGES


def test_pages_that_contain_themselves_end() -> None:
    looped = make_pdf([["x"]]).replace(b"/Kids [5 0 R]", b"/Kids [2 0 R]")
    assert problem(looped, "pdf") in {Problem.DAMAGED, Problem.SCAN}


def test_a_truncated_file_is_called_damaged() -> None:
    assert problem(make_docx()[:2000], "docx") == Problem.DAMAGED
    assert problem(make_pptx()[:-500], "pptx") == Problem.DAMAGED
    assert problem(b"%PDF-1.7\n" + b"\x00" * 100, "pdf") == Problem.DAMAGED
    assert problem(make_notebook()[:100], "ipynb") == Problem.DAMAGED
    assert problem(make_docx(), "pptx") == Problem.DAMAGED


def test_a_locked_pdf_says_that_it_is_locked() -> None:
    locked = make_pdf([["x"]]).replace(b"trailer <<", b"9 0 obj\n<< /Filter /Standard /V 1 /R 2 /P -4 /O (" + b"a" * 32
                                       + b") /U (" + b"b" * 32 + b") >>\nendobj\ntrailer << /Encrypt 9 0 R /ID [(a) (a)]")  # fmt: skip
    assert problem(locked, "pdf") == Problem.ENCRYPTED


def test_a_scan_says_that_it_has_no_text() -> None:
    assert problem(make_pdf([[""]]), "pdf") == Problem.SCAN
    assert "OCR" in SENTENCES[Problem.SCAN]
    empty = pypdfium2.PdfDocument.new()
    empty.new_page(100, 100)
    assert problem(saved(empty.save), "pdf") == Problem.SCAN
    assert problem(b" \n ", "text") == Problem.NO_TEXT
    assert problem(b"<html><script>x</script>", "html") == Problem.NO_TEXT


def test_a_text_that_is_too_long_is_refused() -> None:
    assert problem(b"word " * 500_000, "text") == Problem.TOO_LONG


def test_more_cells_slides_or_sections_than_anybody_reads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipynb_parser, "MAX_CELLS", 1)
    monkeypatch.setattr(pptx_parser, "MAX_SLIDES", 1)
    monkeypatch.setattr(html_parser, "MAX_RULES", 1)
    monkeypatch.setattr("ai_answers.parsing.base.MAX_SECTIONS", 1)
    for module, data, expected in (
        (ipynb_parser, make_notebook(), Problem.TOO_MANY_PAGES),
        (pptx_parser, make_pptx(), Problem.TOO_MANY_PAGES),
        (html_parser, b"<style>a{display:none}b{display:none}</style>x", Problem.BOMB),
        (docx_parser, make_docx(), Problem.TOO_MANY_PAGES),
    ):
        with pytest.raises(Unreadable) as caught:
            module.parse(data)
        assert caught.value.problem == expected


# The child


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "import time\ntime.sleep(60)")
    began = time.monotonic()
    assert problem(b"x", "text", seconds=1) == Problem.TOO_SLOW
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Problem.CRASHED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", Problem.TOO_SLOW),
        ("raise SystemExit(3)", Problem.CRASHED),
        ("print('no JSON')", Problem.CRASHED),
        ("print('[]')", Problem.CRASHED),
        ('print(\'{"problem": "<b>made up</b>"}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": []}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": [[0, 9, "", "", null, false]]}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": [[2, 1, "", "", null, false]]}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": [[0, 1, "", "page", null, false]]}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": [[0, 1, "", "page", 0, false]]}\')', Problem.CRASHED),
        ('print(\'{"text": "abc", "sections": [[0, 1, 7, "", null, false]]}\')', Problem.CRASHED),
        ('print(\'{"text": "a\\\\u0000", "sections": [[0, 1, "", "", null, false]]}\')', Problem.CRASHED),
        ("import sys\nwhile True: sys.stdout.write('x' * 100000)", Problem.CRASHED),
        ("import os, time; os.close(1); time.sleep(60)", Problem.TOO_SLOW),
    ],
)
def test_a_child_that_dies_or_lies_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: Problem
) -> None:
    program(tmp_path, monkeypatch, code)
    assert problem(b"x", "text", seconds=5) == expected


def test_what_needs_more_memory_than_allowed_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(sandbox.CHILD.parent.parent.parent)
    code = (
        f"import sys; sys.path.insert(0, {root!r}); sys.argv[1] = 'text'\n"
        "from ai_answers.parsing import child, plain\nplain.parse = lambda data: bytearray(4 * 1024**3)\nchild.main()"
    )
    program(tmp_path, monkeypatch, code)
    assert problem(b"x", "text") == Problem.CRASHED


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let another program stand where the child is."""
    path = tmp_path / "child.py"
    path.write_text(code)
    monkeypatch.setattr(sandbox, "CHILD", path)


def test_text_is_cleaned_of_what_cannot_be_stored() -> None:
    assert clean("a\x00b\x07\ud800c\r\nd\re\ufeff\x0cf") == "abc\nd\ne\nf"
