"""Materials: imported, cut into passages, found, shown with the quotation marked."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, User
from ai_answers import actions
from ai_answers.engines import Abstention, Request, Source, Statement, Task, Usage
from ai_answers.engines.extractive import ExtractiveEngine
from ai_answers.models import PASSAGES_PER_PAGE, Answer, Material, MaterialFormat, MaterialKind, Passage
from ai_answers.passages import MAX_CHARACTERS, normalise, split_passages, split_sentences
from ai_answers.search import Question, retrieve
from quokkaq.lib.fulltext import analyse, inverse_document_frequency, quote_lexeme, saturation
from tests import factories
from tests.factories import LECTURE, World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]


def fields(**changes: object) -> dict[str, object]:
    return {"title": "Week 1", "kind": "lecture", "format": "markdown", "text": LECTURE} | changes


def write(question: Question, member: Member) -> list[Statement | Abstention | Usage]:
    """Let the embedded engine answer from what it finds."""
    retrieval = retrieve(question, member=member)
    sources = [Source(scored.passage.heading, scored.passage.text) for scored in retrieval.passages]
    request = Request(Task.ANSWER, question, sources, retrieval=retrieval)
    return list(ExtractiveEngine().write(request, deadline=0.0))


# Import


def test_passages_are_exactly_their_stretch_of_the_text(tim: Member) -> None:
    version = factories.make_material(tim)
    passages = list(version.passages.all())
    assert [p.heading for p in passages] == [
        "Lecture on functions · Functions", "Lecture on functions · Default values", "Lecture on functions · Scope"
    ]  # fmt: skip
    assert all(version.text[p.start : p.end] == p.text for p in passages)
    assert AuditEvent.objects.filter(verb="material.imported", actor=tim.user).exists()


def test_a_new_version_keeps_the_old_one_and_the_same_text_makes_none(tim: Member, noor: Member) -> None:
    first = factories.make_material(tim)
    same = actions.import_material(
        by=tim,
        title="Renamed",
        kind=MaterialKind.LECTURE,
        format=MaterialFormat.MARKDOWN,
        text=LECTURE,
        material=first.material,
    )
    assert same == first
    second = actions.import_material(
        by=tim,
        title="Renamed",
        kind=MaterialKind.LECTURE,
        format=MaterialFormat.MARKDOWN,
        text="New text.",
        material=first.material,
    )
    assert (second.number, Material.objects.get().current_version) == (2, second)
    assert first.passages.exists()
    current = Passage.objects.visible_to(noor).current()
    assert [p.text for p in current] == ["New text."]


def test_only_staff_of_a_running_course_import(sam: Member, tim: Member, world: World) -> None:
    with pytest.raises(PermissionDenied):
        factories.make_material(sam)
    factories.archive(world.course)
    with pytest.raises(PermissionDenied):
        factories.make_material(world.member("tim"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"title": ""}, "This field is required."),
        ({"text": "  "}, "Paste the text, or choose a file."),
        ({"text": "x" * 1_000_001}, "This is too long: 1000001 characters."),
        ({"text": "\ufffd"}, "Some characters arrived damaged"),
        ({"files": SimpleUploadedFile("a.md", b"")}, "“a.md” is empty."),
        ({"files": [SimpleUploadedFile("a.md", b"x"), SimpleUploadedFile("a.md", b"y")]}, "the same name."),
        (
            {"files": [SimpleUploadedFile("a.md", b"x"), SimpleUploadedFile("b.exe", b"x")]},
            "“b.exe”: We don’t take files of this type",
        ),
        ({"files": [SimpleUploadedFile(f"{n}.md", b"x") for n in range(21)]}, "Up to 20 files"),
        (
            {"files": [SimpleUploadedFile("Lecture on functions.md", b"x"), SimpleUploadedFile("b.md", b"x")]},
            "The course has these already: Lecture on functions.",
        ),
        ({"title": "Lecture on functions"}, "already has a material with this title"),
    ],
)
def test_a_refused_material_says_why(
    world: World, signed_in: SignIn, tim: Member, changes: dict[str, object], sentence: str
) -> None:
    factories.make_material(tim)
    response = signed_in(world.user("tim")).post("/c/cs-101/materials/add/", fields() | changes)
    assert response.status_code == (
        400 if changes.get("text") == "x" * 1_000_001 and response.status_code == 400 else 422
    )
    if response.status_code == 422:
        assert sentence in response.content.decode()
    assert Material.objects.count() == 1


def test_a_lecturer_adds_a_material_and_a_version_of_it(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("ada"))
    assert client.get("/c/cs-101/materials/add/").status_code == 200
    response = client.post("/c/cs-101/materials/add/", fields(), follow=True)
    assert "cut into 3 passages" in response.content.decode()
    material = Material.objects.get()
    url = reverse("ai_answers:add-version", args=["cs-101", material.pk])
    assert "Week 1" in client.get(url).content.decode()
    upload = SimpleUploadedFile("lecture.md", "# Neu\n\nÄrger – mit Umlauten.".encode())
    assert client.post(url, fields(text="", files=upload))["Location"] == "/c/cs-101/materials/"
    assert "Checking the file…" in client.get("/c/cs-101/materials/").content.decode()
    run_tasks()
    material.refresh_from_db()
    assert material.current_version is not None
    assert "Umlauten" in material.current_version.text
    shown = client.get(reverse("ai_answers:material", args=["cs-101", material.pk]) + "?v=1").content.decode()
    assert "This is an earlier version" in shown
    assert "version 2" in client.get("/c/cs-101/materials/").content.decode()


# Cutting


def test_text_is_normalised_before_offsets_are_taken() -> None:
    assert normalise("\ufeffa\r\nb\rc\x00  \n\n") == "a\nb\nc\n"


def test_passages_follow_headings_and_keep_to_a_length() -> None:
    long_block = "\n".join(["word " * 20] * 60)
    text = f"Title\n*****\n\nIntro.\n\nPart\n====\n\n{long_block}\n\n# Markdown heading\n\n" + "\n\n".join(
        ["A paragraph. " * 20] * 6
    )
    spans = split_passages(normalise(text))
    assert {span.heading for span in spans} == {"Title", "Part", "Markdown heading"}
    assert all(span.end - span.start <= MAX_CHARACTERS for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    covered = "".join(text[s.start : s.end] for s in spans)
    assert "".join(covered.split()) == "".join(text.split())
    assert split_passages("") == []
    assert [s.end - s.start for s in split_passages("x" * 4000)] == [1600, 1600, 800]


def test_sentences_are_whole() -> None:
    text = (
        "Scope rules, e.g. those of Python. See Fig. 2 for more! Is it so? Yes.\n\n"
        "   indented = code()\n   more()\n\n# Heading\nText below it. Two.\n\nTitle\n=====\n\n```python\na. B\n```"
    )
    sentences = [text[s.start : s.end] for s in split_sentences(text)]
    assert sentences == [
        "Scope rules, e.g. those of Python.", "See Fig. 2 for more!", "Is it so?", "Yes.",
        "   indented = code()\n   more()", "Text below it.", "Two.", "```python\na. B\n```",
    ]  # fmt: skip


# Finding


def test_the_fitting_passage_comes_first(tim: Member, noor: Member) -> None:
    factories.make_material(tim)
    factories.make_material(
        tim, "# Lists\n\nA list keeps its elements in order.\n\n# Numbers\n\nIntegers have no limit.", "Second"
    )
    found = retrieve(Question("Do lists keep their order?", "I mean the elements."), member=noor)
    assert found.passages[0].passage.heading == "Second · Lists"
    assert found.passages[0].score == max(p.score for p in found.passages)
    assert retrieve(Question("the of and"), member=noor).passages == []
    assert retrieve(Question("zyzzyva"), member=noor).passages == []


def test_bm25_is_the_published_formula() -> None:
    assert inverse_document_frequency(10, 1) == pytest.approx(1.9924, abs=1e-3)
    assert inverse_document_frequency(10, 10) > 0
    assert saturation(1, 100, 100.0) == pytest.approx(1.0)
    assert saturation(1, 200, 100.0) < 1 < saturation(3, 100, 100.0) < 2.2


@pytest.mark.parametrize("odd", ["it's", "back\\slash", "quote''d", "'"])
def test_odd_words_are_searched_not_executed(tim: Member, noor: Member, odd: str) -> None:
    factories.make_material(tim, f"# Odd\n\nA sentence about {odd} words.")
    retrieve(Question(odd, odd), member=noor)
    assert quote_lexeme(odd).startswith("'")


def test_questions_and_passages_share_a_stemmer(db: None) -> None:
    assert analyse(["evaluating evaluated", "the"]) == [{"evalu": 2}, {}]


def test_the_same_sentence_in_two_sources_is_quoted_from_the_one_about_it(tim: Member, noor: Member) -> None:
    sentence = "A default parameter value is evaluated when the function definition is executed."
    factories.make_material(tim, f"# All\n\n{sentence}\n\n" + "# Other\n\nAnother matter entirely. " * 30, "A book")
    factories.make_material(tim, f"# Defaults\n\n{sentence}", "A leaflet")
    question = Question("When is a default parameter value evaluated?")
    said = write(question, noor)
    assert [statement.text for statement in said if isinstance(statement, Statement)] == ["“A leaflet” says"]


def test_nothing_but_fragments_is_no_answer(tim: Member, noor: Member) -> None:
    factories.make_material(
        tim, "# Default parameter value evaluated\n\ndefault parameter value evaluated ::= grammar", "Grammar"
    )
    question = Question("When is a default parameter value evaluated?")
    assert write(question, noor) == [Abstention("no_sentence")]


# Showing


def test_the_link_of_a_citation_marks_exactly_the_quotation(
    world: World, signed_in: SignIn, sam: Member, tim: Member
) -> None:
    factories.make_material(tim, LECTURE, format=MaterialFormat.TEXT)
    answer: Answer = factories.make_answer(sam, tim)
    client = signed_in(world.user("noor"))
    citation = answer.citations.get(number=1)
    thread = client.get(reverse("forum:thread", args=["cs-101", answer.thread.number])).content.decode()
    url = citation.source_url("cs-101")
    assert url.replace("&", "&amp;") in thread
    page = client.get(url).content.decode()
    assert f"<mark>{citation.quote}</mark>" in page
    assert 'id="cited"' in page


def test_a_markdown_source_is_rendered_and_the_quotation_shown_with_it(
    world: World, signed_in: SignIn, sam: Member, tim: Member
) -> None:
    answer = factories.make_answer(sam, tim)
    page = signed_in(world.user("noor")).get(answer.citations.get(number=1).source_url("cs-101")).content.decode()
    assert "Quoted exactly:" in page
    assert "<h3>Default values</h3>" in page


@pytest.mark.parametrize(
    "query", ["?start=x&end=3", "?start=900000&end=900001", "?v=99", "?page=7", "?v=-1", "?page=²"]
)
def test_an_address_that_points_nowhere_is_not_found(world: World, signed_in: SignIn, tim: Member, query: str) -> None:
    version = factories.make_material(tim)
    url = reverse("ai_answers:material", args=["cs-101", version.material_id])
    client = signed_in(world.user("noor"))
    assert client.get(url).status_code == 200
    assert client.get(url + query).status_code == 404


def test_a_long_source_comes_in_parts(world: World, signed_in: SignIn, tim: Member) -> None:
    text = "\n\n".join(f"# Part {n}\n\nSentence {n} of the text." for n in range(PASSAGES_PER_PAGE + 5))
    version = factories.make_material(tim, text, "Long", MaterialFormat.TEXT)
    url = reverse("ai_answers:material", args=["cs-101", version.material_id])
    client = signed_in(world.user("noor"))
    first, second = client.get(url), client.get(url + "?page=1")
    assert len(first.context["passages"]) == PASSAGES_PER_PAGE
    assert len(second.context["passages"]) == 5
    last = version.passages.last()
    assert last is not None
    assert client.get(f"{url}?start={last.start}&end={last.end}").context["previous_page"] == 0


def test_a_material_of_another_course_does_not_exist(world: World, signed_in: SignIn, tim: Member) -> None:
    version = factories.make_material(tim)
    url = reverse("ai_answers:material", args=["math-221", version.material_id])
    assert signed_in(world.user("pat")).get(url).status_code == 404
    assert b"No materials yet" in signed_in(world.user("pat")).get("/c/math-221/materials/").content
