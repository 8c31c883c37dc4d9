"""Finding passages by words and by meaning, and what the embedded engine makes of them."""

import time
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from accounts.access import Member
from ai_answers import actions, ranking
from ai_answers.citations import Composition, check_claims
from ai_answers.engines import Abstention, Request, Source, Statement, Task
from ai_answers.engines.extractive import ExtractiveEngine
from ai_answers.indexing import index_passages, meaning_of, unindexed
from ai_answers.models import Disclosure, MaterialVersion, ModelCall, Passage, PassageVector
from ai_answers.ranking import Nearness, answerable, coverage, evidence, fuse, lexical_margin, lexical_weight
from ai_answers.search import Meaning, Question, Retrieval, retrieve
from quokkaq.lib import embedding
from quokkaq.lib.embedding import embedder, local_embedder
from quokkaq.lib.embedding.minilm import Tokens
from tests import factories
from tests.factories import World
from tests.quokkaq.test_embedding import Service, running_service

ALIASING = """# Names and objects

## Aliasing

Two variables can refer to one and the same list. Whoever appends through one of them sees the element through the other.

## Loops

A loop repeats its body while a condition holds. The break statement leaves it at once.

## Files

A file should be closed after reading, so that the operating system can give its handle to somebody else.
"""


def index(version: MaterialVersion) -> list[uuid.UUID]:
    keys = list(version.passages.order_by("position").values_list("pk", flat=True))
    index_passages(keys)
    return keys


# Pure ranking


def test_meaning_finds_what_words_do_not() -> None:
    found = fuse({"words": 2.0}, {"words": Nearness(0.1, 0.1), "meaning": Nearness(0.8, 0.9)})
    assert found["meaning"] == 1 - ranking.MOST_LEXICAL
    assert found["words"] == ranking.MOST_LEXICAL


def test_words_count_for_more_where_they_single_a_passage_out() -> None:
    assert lexical_margin([]) == lexical_margin([0.0]) == 0
    assert lexical_margin([4.0]) == 1
    assert lexical_margin([3.0, 4.0]) == 0.25
    assert lexical_weight(0) == ranking.LEAST_LEXICAL
    assert lexical_weight(0.3) == lexical_weight(1) == ranking.MOST_LEXICAL
    unclear = fuse({"a": 4.0, "b": 4.0}, {"a": Nearness(0.2, 0.2), "b": Nearness(0.6, 0.6)})
    assert unclear["b"] == 1.0
    assert unclear["a"] == ranking.LEAST_LEXICAL


def test_without_vectors_words_alone_rank() -> None:
    assert fuse({"a": 4.0, "b": 1.0}, {}) == {"a": 1.0, "b": 0.25}
    assert fuse({"new": 4.0}, {"old": Nearness(0.5, 0.5)})["new"] == 1.0
    assert fuse({}, {}) == {}


def test_coverage_is_of_one_passage_and_wants_evidence() -> None:
    asked = {"alias": 5.0, "list": 3.0}
    assert coverage(asked, [{"list": 2}, {"alias": 1}]) == 5 / 8
    assert coverage({"list": 1.0}, [{"list": 1}]) == 1 / ranking.MIN_EVIDENCE
    assert coverage({}, []) == 0


def test_numbers_names_and_denials_are_looked_for() -> None:
    found = evidence(
        question="Why does Knuth not use 42 or 3.5?",
        text="As knuth says, 42 is used.",
        coverage=1.4,
        margin=0.2,
        nearest=None,
    )
    assert found == {"coverage": 1.0, "margin": 0.2, "numbers": 0.5, "names": 1.0, "negation": 0.0}
    near = evidence(question="why", text="so", coverage=0.1, margin=0.0, nearest=Nearness(0.5, 0.25))
    assert near["cosine"] == 0.5
    assert near["sentence"] == 0.25
    assert near["numbers"] == near["names"] == near["negation"] == 1.0


def test_what_is_nearer_is_likelier_answered() -> None:
    assert answerable({"coverage": ranking.MIN_COVERAGE}) == 0.5
    far = {"coverage": 0.1, "cosine": 0.1, "sentence": 0.1}
    near = {"coverage": 0.9, "cosine": 0.8, "sentence": 0.8, "names": 1.0, "numbers": 1.0}
    assert answerable(far) < 0.1
    assert answerable(near) > 0.9


def tokens(*vectors: tuple[float, float]) -> Tokens:
    """Return tokens of two letters each with a blank between them."""
    starts = 3 * np.arange(len(vectors))
    spans = np.stack([starts, starts + 2], axis=1)
    return Tokens(np.arange(len(vectors)), spans, np.array(vectors, np.float32).reshape(-1, 2))


def test_each_token_of_a_question_looks_for_its_nearest_and_rare_ones_count_more() -> None:
    asked = tokens((1, 0), (0, 1))
    weights = ranking.token_weights(asked, [(0, "aa", 0.0), (3, "bb", 4.5)])
    assert weights.tolist() == [ranking.COMMON_TOKEN, 4.5]
    assert ranking.late_interaction(asked, weights, asked) == pytest.approx(1)
    has_rare = ranking.late_interaction(asked, weights, tokens((0, 1), (0, -1)))
    has_common = ranking.late_interaction(asked, weights, tokens((1, 0), (-1, 0)))
    assert has_rare == pytest.approx(0.9)
    assert has_common == pytest.approx(0.1)
    assert ranking.late_interaction(asked, weights, tokens()) == 0
    assert ranking.late_interaction(tokens(), weights[:0], asked) == 0


def test_words_are_those_of_the_index() -> None:
    assert ranking.words_of("Why `list.append`, co-op?") == [(0, "Why"), (5, "list.append"), (19, "co-op")]


def test_what_was_read_token_by_token_changes_places() -> None:
    found = ranking.rerank({"first": 0.8, "second": 0.7, "unread": 0.6}, {"first": 0.4, "second": 0.6})
    assert set(found) == {"first", "second"}
    assert 0 < found["first"] < found["second"] < 1
    assert ranking.rerank({"a": 0.0}, {"a": -0.5}) == {"a": 0.0}
    assert ranking.rerank({"a": 1.0}, {"a": 1.0}) == {"a": 1.0}


# Retrieval


def test_a_paraphrase_is_found_by_its_meaning(ada: Member, noor: Member) -> None:
    keys = index(factories.make_material(ada, ALIASING))
    found = retrieve(Question("Why do both variables change when I modify just a single array?"), member=noor)
    assert found.passages[0].passage.heading.endswith("Aliasing")
    assert {scored.passage.pk for scored in found.passages} <= set(keys)
    assert found.features["sentence"] > 0.3
    sentences = found.passages[0].sentences
    assert sentences
    for start, end in sentences:
        assert 0 <= start < end <= len(found.passages[0].passage.text)


def test_nobody_finds_what_is_not_theirs(world: World, ada: Member) -> None:
    index(factories.make_material(ada, ALIASING))
    for name, course in (("pat", world.other_course), ("eve", world.foreign_course)):
        assert retrieve(Question("two variables, one list"), member=world.member(name, course)).passages == []


def test_a_deleted_material_and_an_old_version_are_not_found(ada: Member, noor: Member) -> None:
    version = factories.make_material(ada, ALIASING)
    index(version)
    material = version.material
    MaterialVersion.objects.filter(pk=version.pk)
    material.current_version = None
    material.save()
    assert retrieve(Question("two variables, one list"), member=noor).passages == []
    assert not unindexed("any").exists()


def test_queries_do_not_grow_with_the_course(ada: Member, noor: Member) -> None:
    question = Question("When is the default value of a parameter evaluated?", "I wonder.")
    index(factories.make_material(ada))
    with CaptureQueriesContext(connection) as few:
        retrieve(question, member=noor)
    for number in range(4):
        index(factories.make_material(ada, f"{factories.LECTURE}\n{number}", title=f"Lecture {number}"))
    with CaptureQueriesContext(connection) as many:
        assert len(retrieve(question, member=noor).passages) == 8
    assert len(few) == len(many) <= 8


@pytest.mark.parametrize("limit", [1, 8])
def test_no_more_than_ten_passages_are_read_again(
    ada: Member, noor: Member, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for number in range(5):
        index(factories.make_material(ada, f"{ALIASING}\n{number}", title=f"Names {number}"))
    model = local_embedder()
    assert model is not None
    read: list[int] = []
    by_tokens = model.embed_tokens

    def counted(texts: Sequence[str]) -> list[Tokens]:
        read.append(len(texts) - 1)
        return by_tokens(texts)

    monkeypatch.setattr(model, "embed_tokens", counted)
    found = retrieve(Question("Can two variables refer to the same list?"), member=noor, limit=limit)
    assert read == [ranking.RERANKED]
    assert len(found.passages) == limit
    assert found.passages[0].passage.heading.endswith("Aliasing")
    scores = [scored.score for scored in found.passages]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_without_weights_words_still_find(ada: Member, noor: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    version = factories.make_material(ada)
    monkeypatch.setattr("ai_answers.search.embedder", lambda: None)
    monkeypatch.setattr("ai_answers.indexing.embedder", lambda: None)
    assert index_passages([passage.pk for passage in version.passages.all()]) == 0
    found = retrieve(Question("When is a default parameter value evaluated?"), member=noor)
    assert found.passages[0].passage.heading.endswith("Default values")
    assert "sentence" not in found.features


# Indexing


def test_indexing_twice_stores_once(ada: Member) -> None:
    version = factories.make_material(ada)
    keys = list(version.passages.values_list("pk", flat=True))
    model = local_embedder()
    assert model is not None
    assert set(unindexed(model.name).values_list("pk", flat=True)) == set(keys)
    assert index_passages(keys) == len(keys)
    stored = PassageVector.objects.count()
    assert stored > len(keys)
    assert index_passages([*keys, uuid.uuid4()]) == 0
    assert PassageVector.objects.count() == stored
    assert not unindexed(model.name).exists()
    for row in PassageVector.objects.filter(part__gt=0).select_related("passage"):
        assert row.passage.text[row.start : row.end].strip()


def test_a_passage_that_another_worker_indexed_meanwhile_is_left_alone(
    ada: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = factories.make_material(ada)
    keys = index(version)
    before = set(PassageVector.objects.values_list("pk", flat=True))
    monkeypatch.setattr(
        "ai_answers.indexing._waiting",
        lambda ids, model: list(Passage.objects.filter(pk__in=ids).select_related("version__material__course")),
    )
    assert index_passages(keys) == len(keys)
    assert set(PassageVector.objects.values_list("pk", flat=True)) == before


# A service outside


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    with running_service() as running:
        settings.EMBEDDING_BASE_URL, settings.EMBEDDING_API_KEY = running.url, "k"
        settings.EMBEDDING_MODEL = "m"
        embedding._remote.cache_clear()
        yield running
    embedding._remote.cache_clear()


def test_what_leaves_is_written_down_and_names_nobody(
    world: World, ada: Member, noor: Member, service: Service
) -> None:
    text = ALIASING + "\nAsk Surname-ada (ada@example.edu) about it, who teaches this.\n"
    index(factories.make_material(ada, text))
    sent = " ".join(text for request in service.requests for text in request["input"])
    assert "Surname-ada" not in sent
    assert "ada@example.edu" not in sent
    assert "one and the same list" in sent
    call = ModelCall.objects.get()
    assert (call.purpose, call.outcome, call.model, call.user) == ("embedding", "answered", "m:4", None)
    disclosure = Disclosure.objects.get()
    assert disclosure.text in ["\n\n".join(request["input"]) for request in service.requests]
    assert "Surname-ada" not in disclosure.text
    assert PassageVector.objects.filter(model="m:4").exists()


def test_a_question_leaves_only_with_consent(
    ada: Member, noor: Member, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(factories.make_material(ada, ALIASING))
    question = Question("Two variables, one list?")
    asked = len(service.requests)
    assert meaning_of(question, course=noor.course, user=noor.user) is None
    assert meaning_of(question, course=noor.course, user=None) is None
    assert "sentence" not in retrieve(question, member=noor).features
    assert len(service.requests) == asked
    actions.set_consent(by=noor.user, is_given=True)
    meaning = meaning_of(question, course=noor.course, user=noor.user)
    assert isinstance(meaning, Meaning)
    assert Disclosure.objects.get(user=noor.user).text == question.title
    # Tokens are the embedded model's: beside a service it reads nothing.
    monkeypatch.setattr(local_embedder(), "embed_tokens", lambda texts: pytest.fail("read by another model"))
    assert "sentence" in retrieve(question, member=noor, meaning=meaning).features


def test_a_failing_service_leaves_words_and_a_line_in_the_ledger(noor: Member, service: Service) -> None:
    actions.set_consent(by=noor.user, is_given=True)
    model = embedder()
    assert model is not None
    assert model.name == "m:4"
    service.answer = lambda texts: (401, {})
    assert meaning_of(Question("why"), course=noor.course, user=noor.user) is None
    assert ModelCall.objects.get().outcome == "error"


def test_with_the_embedded_model_nothing_is_asked_outside(noor: Member) -> None:
    assert meaning_of(Question("why"), course=noor.course, user=noor.user) is None


# The embedded engine


def say(task: Task, retrieval: Retrieval | None, sources: Sequence[Source] = ()) -> list[Statement | Abstention]:
    sources = sources or [Source(s.passage.heading, s.passage.text) for s in (retrieval.passages if retrieval else ())]
    request = Request(task, Question("-"), sources, retrieval=retrieval)
    said = ExtractiveEngine().write(request, deadline=time.monotonic() + 10)
    return [item for item in said if isinstance(item, Statement | Abstention)]


def test_an_answer_quotes_the_sentence_that_means_the_same(ada: Member, noor: Member) -> None:
    index(factories.make_material(ada, ALIASING))
    found = retrieve(Question("Can two variables refer to the same list?"), member=noor)
    said = say(Task.ANSWER, found)
    composition = Composition()
    for statement in said:
        assert isinstance(statement, Statement)
        composition.add(statement, [scored.passage for scored in found.passages])
    check_claims(composition.claims)
    assert any("one and the same list" in claim.quote for claim in composition.claims)


def test_another_topic_is_held_back(ada: Member, noor: Member) -> None:
    index(factories.make_material(ada, ALIASING))
    for question in ("Who painted the Sistine Chapel?", "How long should rice be cooked?"):
        assert say(Task.ANSWER, retrieve(Question(question), member=noor)) == [Abstention("low_coverage")]


def test_a_hint_points_at_the_reading_and_quotes_no_solution(ada: Member, noor: Member) -> None:
    index(factories.make_material(ada, ALIASING))
    found = retrieve(Question("Can two variables refer to the same list?"), member=noor)
    said = say(Task.HINT, found)
    assert 1 <= len(said) <= 3
    for statement in said:
        assert isinstance(statement, Statement)
        assert statement.text.startswith("Read “")
        assert all(len(quote.text.split()) <= 8 for quote in statement.quotes)
        assert "one and the same list" not in statement.text + statement.quotes[0].text


def test_a_summary_says_what_most_of_it_is_about() -> None:
    sources = [
        Source("Post 1", "The deadline of the homework is on Friday. I like cats very much, by the way."),
        Source("Post 2", "As far as I know the homework is due on Friday. The submission closes on Friday evening."),
        Source("Post 3", "Homework can be handed in until Friday."),
    ]
    said = say(Task.SUMMARY, None, sources)
    assert said
    quotes = [quote for statement in said if isinstance(statement, Statement) for quote in statement.quotes]
    assert len(quotes) == len(said)
    assert all("Friday" in quote.text for quote in quotes)
    assert all(quote.text in sources[quote.source - 1].text for quote in quotes)


def test_a_summary_works_by_words_alone(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_answers.engines.extractive.local_embedder", lambda: None)
    sources = [Source("One", "The homework is due on Friday evening. Cats sleep for most of the day.")]
    assert len(say(Task.SUMMARY, None, [*sources, Source("Two", "The homework is due on Friday morning.")])) == 2


def test_nothing_to_go_by_is_said() -> None:
    assert say(Task.SUMMARY, None, [Source("Post", "Hm")]) == [Abstention("nothing_found")]
    assert say(Task.ANSWER, None) == [Abstention("nothing_found")]
