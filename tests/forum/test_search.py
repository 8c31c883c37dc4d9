"""Search: what is found, in which order, by whom, and what it costs."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from psycopg.errors import QueryCanceled

from accounts.access import Member
from accounts.models import User
from ai_answers.models import Citation, Material
from forum import actions, search
from forum.models import Follow, Post, SearchEntry, Thread
from forum.search import Hit, find, finding, parse_query, ranking, suggest
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
SEARCH = "/c/cs-101/search/"
SUGGEST = "/c/cs-101/search/suggest/"


def found(member: Member, typed: str) -> list[Hit]:
    return list(find(parse_query(typed), member=member).hits)


def titles(member: Member, typed: str) -> list[str]:
    return [hit.heading for hit in found(member, typed)]


def page(client: Client, typed: str, **more: str) -> str:
    return client.get(SEARCH, {"q": typed, **more}).content.decode()


def suggested(member: Member, typed: str) -> list[str]:
    return [suggestion.thread.title for suggestion in suggest(member, typed)]


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("noor"))


@pytest.fixture(params=[finding.FEW, 0], ids=["few people", "many people"])
def meant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of a few people, whose texts are all looked through, or of many, of each of whom only the newest are."""
    monkeypatch.setattr(finding, "FEW", request.param)


# What is found, and how it is ranked


def test_the_title_counts_more_than_the_text_and_rare_words_more_than_common_ones(sam: Member, noor: Member) -> None:
    factories.make_thread(sam, "Recursion doesn't stop", "My function calls itself.")
    factories.make_thread(sam, "Another question", "Something about recursion in the middle of other things.")
    for n in range(8):
        factories.make_thread(sam, f"Function number {n}", "A function.")
    assert titles(noor, "recursion")[0] == "Recursion doesn't stop"
    assert set(titles(noor, "recursion")) == {"Recursion doesn't stop", "Another question"}
    assert titles(noor, "function recursion")[0] == "Recursion doesn't stop"


def test_words_are_found_in_every_form_and_place(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "Why are my loops endless?")
    post = factories.make_post(noor, thread, "Increment the **counter**.")
    factories.make_post(tim, thread, "The counter indeed!", parent=post)
    assert titles(noor, "loop") == ["Why are my loops endless?"]
    places = [(hit.place, hit.place_name) for hit in found(sam, "counters")]
    assert places == [("posts", "Reply")] * 2
    assert found(sam, "increment")[0].url == f"/c/cs-101/1/#post-{post.pk}"


def test_with_few_results_what_has_some_of_the_words_comes_after_what_has_all(sam: Member) -> None:
    factories.make_thread(sam, "Segmentation fault in the allocator")
    factories.make_thread(sam, "Segmentation of images")
    results = find(parse_query("segmentation fault"), member=sam)
    assert [hit.heading for hit in results.hits] == ["Segmentation fault in the allocator", "Segmentation of images"]
    assert results.loose


def test_phrases_and_exclusions(sam: Member) -> None:
    factories.make_thread(sam, "Merge sort or heap sort")
    factories.make_thread(sam, "How to sort and then merge")
    assert titles(sam, '"merge sort"') == ["Merge sort or heap sort"]
    assert titles(sam, "sort -heap") == ["How to sort and then merge"]
    assert set(titles(sam, "heap OR merge")) == {"Merge sort or heap sort", "How to sort and then merge"}


@pytest.mark.parametrize("typed", ["the", "-loop", "the -loop"])
def test_nothing_to_look_for_is_said(client: Client, sam: Member, typed: str) -> None:
    factories.make_thread(sam, "A loop")
    assert "There is nothing to look for" in page(client, typed)


@pytest.mark.parametrize("typed", ["append", "list.append", '"list.append"', "int", "vector<int>", "station"])
def test_parts_of_names_in_code_are_words(sam: Member, typed: str) -> None:
    factories.make_thread(sam, "Why does list.append(x) return None?", "In station.py, for a vector<int>.")
    assert titles(sam, typed) == ["Why does list.append(x) return None?"]
    hit = found(sam, typed)[0]
    assert "<mark>" in hit.title + hit.snippet
    assert "list.append(x)" in hit.title.replace("<mark>", "").replace("</mark>", "")
    assert suggested(sam, "appe") == ["Why does list.append(x) return None?"]


def test_names_in_materials_are_found_whole(noor: Member, tim: Member) -> None:
    factories.make_material(tim, "# Lists\n\nCall list.append to add an item at the end.", "On lists")
    assert titles(noor, "list.append") == ["On lists"]


def test_an_edit_is_found_at_once_and_what_it_said_before_is_not(sam: Member) -> None:
    thread = factories.make_thread(sam, "Something about pointers")
    actions.edit_thread(by=sam, thread=thread, title="Something about iterators", body="Text.", tags=[])
    assert titles(sam, "iterators")
    assert not titles(sam, "pointers")


def test_each_course_finds_its_own(world: World, sam: Member) -> None:
    factories.make_thread(sam, "Eigenvalues here")
    factories.make_thread(world.member("pat", world.other_course), "Eigenvalues there")
    assert titles(sam, "eigenvalues") == ["Eigenvalues here"]


# Operators


def test_operators_narrow(world: World, sam: Member, noor: Member, tim: Member) -> None:
    tag, other = factories.make_tag(world.course), factories.make_tag(world.course, "exam")
    one = factories.make_thread(sam, "Loop one", tags=[tag, other])
    two = factories.make_thread(noor, "Loop two", tags=[tag])
    three = factories.make_thread(sam, "Loop three", kind="discussion")
    four = factories.make_thread(noor, "Loop four", visibility="staff")
    news = factories.make_thread(tim, "Loop news", kind="announcement")
    reply = factories.make_post(tim, two, "Loop reply")
    actions.set_endorsement(by=world.member("ada"), post=reply, on=True)
    actions.set_resolved(by=sam, thread=one, resolved=True)
    actions.set_pinned(by=tim, thread=three, pinned=True)
    actions.set_locked(by=tim, thread=news, locked=True)
    actions.mark_read(by=noor, thread=one, up_to=timezone.now())
    Follow.objects.update_or_create(
        user=noor.user, thread=three, defaults={"institution": world.institution, "state": "following"}
    )
    expected = {
        "tag:homework": {"one", "two"}, "tag:homework tag:exam": {"one"}, "tag:nothing": set(), "is:resolved": {"one"},
        "is:answered": {"two"}, "is:unanswered": {"four"}, "is:discussion": {"three"}, "is:announcement": {"news"},
        "is:question": {"one", "two", "four"}, "is:mine": {"two", "four"}, "is:private": {"four"},
        "is:endorsed": {"two"}, "is:pinned": {"three"}, "is:locked": {"news"}, "by:me": {"two", "four"},
        "by:surname-sam": {"one", "three"}, 'by:"Sam Surname-sam"': {"one", "three"}, "by:tim": {"news"},
        "before:2020-01-01": set(), "after:2020-01-01": {"one", "two", "three", "four", "news"},
        "in:threads": {"one", "two", "three", "four", "news"}, "in:posts": set(),
    }  # fmt: skip
    for operator, names in expected.items():
        for typed in (operator, f"loop {operator}"):
            if typed.startswith("in:"):
                continue
            hits = {hit.heading.removeprefix("Loop ") for hit in found(noor, typed) if hit.place == "threads"}
            assert hits == names, typed
    assert three.title in titles(noor, "is:following")
    assert one.title not in titles(noor, "is:unread")
    assert [hit.place for hit in found(noor, "loop in:posts")] == ["posts"]
    assert [hit.place for hit in found(noor, "by:tim in:posts")] == ["posts"]
    assert [hit.place for hit in found(noor, "loop tag:homework in:posts")] == ["posts"]
    assert [hit.place for hit in found(noor, "by:tim tag:homework in:posts")] == ["posts"]
    assert four.title not in titles(sam, "loop")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("is:nonsense", "There is no “is:nonsense”. You can use: unanswered,"),
        ("loop in:space", "There is no “in:space”. You can use: threads, posts, answers, materials."),
        ("loop after:monday", "“after:monday” is no day. Write it like after:2026-11-30."),
        ("loop before:2026-13-01", "is no day"),
        ("before:0001-01-01 loop", ""),
        ("loop tag:none", "This course has no tag “none”."),
        ('loop by:""', "Say what to look for after “by:”, like by:sam."),
        ('loop tag:""', "Say what to look for after “tag:”, like tag:homework."),
        ("x" * 10_000, "This is too long for a search. Only its first 300 characters were used."),
        ("#77", "There is no thread #77 that you can read."),
    ],
)
def test_what_cannot_be_understood_is_said(client: Client, sam: Member, typed: str, sentence: str) -> None:
    factories.make_thread(sam, "A loop")
    response = client.get(SEARCH, {"q": typed})
    assert response.status_code in ({400} if sentence else {200, 400})
    assert sentence in response.content.decode().replace("&quot;", '"')


@pytest.mark.parametrize(
    "typed", ["\x00", "lo\x00op", "'; DROP TABLE", "a & | ! <-> (", "\\", "'", '"', "-", "%", ":*"]
)
def test_odd_searches_are_just_searches(client: Client, sam: Member, typed: str) -> None:
    factories.make_thread(sam, "A loop")
    for url in (SEARCH, SUGGEST, "/c/cs-101/"):
        assert client.get(url, {"q": typed}).status_code in {200, 302, 400}, url


def test_a_word_with_a_colon_is_a_word() -> None:
    query = parse_query("lambda:x https://example.edu loop")
    assert (query.words, query.problems) == ("lambda:x https://example.edu loop", [])


def test_a_number_leads_to_the_thread_if_one_may_read_it(client: Client, sam: Member, noor: Member) -> None:
    factories.make_thread(noor, "Mine to read")
    private = factories.make_thread(sam, "A secret", visibility="staff")
    assert client.get(SEARCH, {"q": "#1"})["Location"] == "/c/cs-101/1/"
    assert client.get("/c/cs-101/", {"q": "#1"})["Location"] == "/c/cs-101/1/"
    for number in (private.number, 999):
        response = client.get(SEARCH, {"q": f"#{number}"})
        assert f"There is no thread #{number} that you can read." in response.content.decode()


# What is shown


def test_what_was_found_is_marked_and_nothing_else_is_markup(client: Client, sam: Member) -> None:
    factories.make_thread(
        sam,
        "<script>alert(1)</script> loop \ue000b\ue001",
        "A `List<int>` in a <b>loop</b> \ue000<img src=x>\ue001 & more",
    )
    html = page(client, "loop")
    assert "<mark>loop</mark>" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "List&lt;int&gt;" in html
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "\ue000" not in html
    assert "\ue002" not in html
    typed = "<script>alert(2)</script>"
    assert typed not in page(client, typed)
    assert typed not in client.get(SUGGEST, {"q": f"{typed} loop"}).content.decode()


def test_a_long_text_is_cut_around_what_was_found(sam: Member) -> None:
    factories.make_thread(sam, "A long story", "Word. " * 500 + "The needle is here. " + "Word. " * 500)
    hit = found(sam, "needle")[0]
    assert "<mark>needle</mark>" in hit.snippet
    assert len(hit.snippet) < 600
    assert len(found(sam, "by:me")[0].snippet) < 400


def test_rows_say_where_by_whom_and_who_sees_it(client: Client, world: World, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(noor, "A private loop", visibility="staff")
    post = factories.make_post(tim, thread, "Loop, loop.")
    actions.set_endorsement(by=world.member("ada"), post=post, on=True)
    html = page(client, "loop")
    for text in ("Private to staff", "Noor Surname-noor", "Tim Surname-tim", "Reply", "Question", "Endorsed"):
        assert text in html, text


def test_nothing_found_says_what_to_do(client: Client, world: World) -> None:
    assert "Nothing fits" in page(client, "nonexistent")
    assert "Ask it" in page(client, "nonexistent")
    assert "How to search" in page(client, "")
    assert "Add a word to look for." in page(client, "in:posts")
    factories.archive(world.course)
    assert "Ask it" not in page(client, "nonexistent")


def test_a_slow_search_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object, **more: object) -> None:
        raise OperationalError from QueryCanceled("canceling statement due to statement timeout")

    monkeypatch.setattr("forum.views.search.find", late)
    assert "This search takes too long." in page(client, "loop")


# Pages


def test_every_result_stands_on_one_page(client: Client, sam: Member) -> None:
    for n in range(47):
        factories.make_thread(sam, f"A loop, number {n}")
    for typed in ("loop", "is:question"):
        query, seen = f"?q={typed}", []
        while query:
            context = client.get(SEARCH + query).context
            seen += [hit.heading for hit in context["results"].hits]
            query = context["next"]
        assert len(seen) == len(set(seen)) == 47, typed


def test_a_page_goes_on_where_the_last_ended_though_its_last_row_is_gone(sam: Member) -> None:
    for n in range(30):
        factories.make_thread(sam, f"A loop, number {n}")
    first = find(parse_query("loop"), member=sam)
    actions.delete_thread(by=sam, thread=Thread.objects.get(pk=first.hits[-1].key))
    second = find(parse_query("loop"), member=sam, cursor=first.next_cursor)
    assert len(second.hits) == 10
    assert not {hit.key for hit in second.hits} & {hit.key for hit in first.hits}


def test_a_tampered_cursor_is_refused_with_a_sentence(client: Client, sam: Member) -> None:
    for n in range(30):
        factories.make_thread(sam, f"A loop, number {n}")
    good = client.get(SEARCH, {"q": "loop"}).context["results"].next_cursor
    for typed, cursor in (
        ("loop", "abc"),
        ("loop", good[:-3] + "xyz"),
        ("number", good),
        ("loop", "\x00"),
        ("loop", "A" * 5000),
    ):
        response = client.get(SEARCH, {"q": typed, "cursor": cursor})
        assert response.status_code == 400
        assert "This page address is damaged or out of date" in response.content.decode()
        assert len(response.context["results"].hits) == 20


# Who may find what


def test_private_threads_are_found_by_their_author_and_staff(sam: Member, noor: Member, tim: Member) -> None:
    thread = factories.make_thread(sam, "My zebra grade", visibility="staff")
    factories.make_post(tim, thread, "About the zebra.")
    assert len(found(sam, "zebra")) == len(found(tim, "zebra")) == 2
    assert found(noor, "zebra") == []
    assert suggested(noor, "zebra") == []
    assert suggested(sam, "zebr") == ["My zebra grade"]


@pytest.mark.parametrize("moderation", ["pending", "hidden"])
def test_what_waits_or_is_hidden_is_found_by_its_author_and_staff(
    sam: Member, noor: Member, tim: Member, moderation: str
) -> None:
    thread = factories.make_thread(sam, "A zebra question")
    other = factories.make_thread(noor, "A calm question")
    post = factories.make_post(sam, other, "A zebra reply")
    Thread.objects.filter(pk=thread.pk).update(moderation=moderation)
    Post.objects.filter(pk=post.pk).update(moderation=moderation)
    assert len(found(sam, "zebra")) == len(found(tim, "zebra")) == 2
    assert found(noor, "zebra") == []
    assert suggested(noor, "zebra") == []
    assert found(noor, "by:sam") == []


@pytest.mark.usefixtures("meant")
def test_what_is_deleted_or_merged_is_found_by_nobody(sam: Member, noor: Member, tim: Member) -> None:
    deleted = factories.make_thread(sam, "A zebra question")
    merged = factories.make_thread(sam, "Another zebra question")
    target = factories.make_thread(sam, "The target")
    under_deleted = factories.make_post(noor, deleted, "A zebra reply")
    post = factories.make_post(noor, target, "One more zebra")
    actions.delete_thread(by=sam, thread=deleted)
    actions.delete_post(by=noor, post=post)
    Thread.objects.filter(pk=merged.pk).update(merged_into=target)
    for member in (sam, noor, tim):
        assert found(member, "zebra") == []
        assert suggested(member, "zebra") == []
        assert [hit for hit in found(member, "by:noor") if hit.key in (under_deleted.pk, post.pk)] == []


def test_a_moved_reply_is_found_where_it_stands_now(world: World, sam: Member, noor: Member) -> None:
    thread, target = factories.make_thread(sam, "First thread"), factories.make_thread(sam, "Second thread")
    post = factories.make_post(noor, thread, "A zebra")
    Post.objects.filter(pk=post.pk).update(thread=target)
    assert found(sam, "zebra")[0].url == f"/c/cs-101/{target.number}/#post-{post.pk}"
    Thread.objects.filter(pk=target.pk).update(course=world.other_course, number=1)
    assert found(sam, "zebra") == []
    assert len(found(world.member("pat", world.other_course), "zebra")) == 1
    assert SearchEntry.objects.filter(post=post).count() == 1


@pytest.mark.usefixtures("meant")
def test_replies_of_whoever_has_that_name(sam: Member, noor: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = factories.make_thread(noor, "A question")
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]
    for day in days:
        for member in (sam, noor):
            post = factories.make_post(member, thread, f"A zebra on day {day.day}")
            Post.objects.filter(pk=post.pk).update(created_at=day)
    assert [hit.when for hit in found(noor, "by:surname in:posts")] == [day for day in reversed(days) for _ in range(2)]
    assert [hit.when for hit in found(noor, "by:surname-sam in:posts")] == days[::-1]
    assert len(found(noor, "by:surname in:posts zebra")) == 10
    # Of many, only so many of each: those of the days that are asked for.
    monkeypatch.setattr(finding, "WANTED", 2 * noor.course.enrollments.count())
    old = found(noor, "by:surname before:2026-01-04 in:posts")
    assert [hit.when for hit in old][:4] == [days[2], days[2], days[1], days[1]]
    assert found(noor, "by:surname after:2026-02-01 in:posts") == []


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
def test_outsiders_find_nothing(world: World, sam: Member, signed_in: SignIn, persona: str) -> None:
    factories.make_thread(sam, "A zebra question")
    for url in (SEARCH, SUGGEST):
        response = signed_in(world.user(persona)).get(url, {"q": "zebra"})
        assert response.status_code == (200 if persona == "eve" else 404)
        assert "A <mark>zebra" not in response.content.decode()


@pytest.mark.usefixtures("meant")
def test_nobody_who_hides_is_found_by_name(sam: Member, noor: Member, tim: Member) -> None:
    one = factories.make_thread(sam, "Hidden from classmates", anonymity="classmates")
    two = factories.make_thread(sam, "Hidden from everyone", anonymity="all")
    factories.make_post(sam, one, "A reply", anonymity="classmates")
    factories.make_post(sam, two, "A reply", anonymity="all")
    assert titles(noor, "by:sam") == []
    assert titles(tim, "by:sam") == ["Hidden from classmates"] * 2
    assert set(titles(sam, "by:me")) == {"Hidden from classmates", "Hidden from everyone"}
    assert titles(sam, "by:surname-sam") == []
    assert two.pseudonym is not None
    assert titles(noor, f'by:"{two.pseudonym.name}"') == ["Hidden from everyone"] * 2
    hit = found(noor, f'by:"{two.pseudonym.name}"')[0]
    assert hit.by is not None
    assert hit.by.hidden


# AI answers and materials


def test_answers_and_materials_are_found(client: Client, sam: Member, noor: Member, tim: Member) -> None:
    answer = factories.make_answer(sam, tim)
    places = {hit.place: hit for hit in found(noor, "default parameter value")}
    assert set(places) == {"threads", "answers", "materials"}
    assert places["answers"].url == "/c/cs-101/1/#ai-answer"
    assert places["materials"].heading == "Lecture on functions"
    assert "start=" in places["materials"].url
    assert b'id="cited"' in client.get(places["materials"].url).content
    assert [hit.place for hit in found(noor, "parameter in:answers")] == ["answers"]
    assert [hit.place for hit in found(noor, "parameter in:materials")] == ["materials"]
    for operator in ("by:sam", "is:question", "after:2999-01-01", "before:2020-01-01"):
        assert {hit.place for hit in found(noor, f"parameter {operator}")} <= {"threads"}, operator
    assert "AI answer" in page(client, "parameter")
    Thread.objects.filter(pk=answer.thread_id).update(visibility="staff")
    assert {hit.place for hit in found(noor, "parameter")} == {"materials"}


def test_an_answer_that_is_withheld_or_unfinished_is_not_found(sam: Member, noor: Member, tim: Member) -> None:
    answer = factories.make_answer(sam, tim)
    Citation.objects.filter(answer=answer).delete()
    assert found(noor, "parameter in:answers") == []
    factories.put_answer(answer.thread, "abstained", body="On a parameter.")
    assert found(noor, "parameter in:answers") == []


def test_only_the_newest_version_of_a_material_is_found(noor: Member, tim: Member) -> None:
    factories.make_material(tim, "# Zebras\n\nZebras have stripes and live in herds.", "On zebras")
    assert titles(noor, "stripes") == ["On zebras"]
    Material.objects.update(deleted_at=timezone.now())
    assert titles(noor, "stripes") == []


def test_what_vanishes_between_ranking_and_showing_is_left_out(
    sam: Member, noor: Member, tim: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = factories.make_answer(sam, tim)
    factories.make_post(sam, answer.thread, "About a parameter")
    ranked = search.finding._ranked

    def then_gone(member: Member, request: search.Request) -> list[Hit]:
        hits = ranked(member, request)
        Thread.objects.update(deleted_at=timezone.now())
        Material.objects.update(deleted_at=timezone.now())
        return hits

    monkeypatch.setattr(search.finding, "_ranked", then_gone)
    assert found(noor, "parameter") == []


# Suggestions


def test_suggestions_complete_the_last_word(sam: Member) -> None:
    for title in ("Recursion in trees", "Studying for the exam", "Loops and loops", "Flies like an arrow", "Ünïcode"):
        factories.make_thread(sam, title, "No such words here.")
    cases = {
        "recu": "Recursion in trees", "recursio": "Recursion in trees", "recursion": "Recursion in trees",
        "recursion tr": "Recursion in trees", "the exam stu": "Studying for the exam", "studyi": "Studying for the exam",
        "loop": "Loops and loops", "flies": "Flies like an arrow", "tree recursion": "Recursion in trees",
        "ünï": "Ünïcode",
    }  # fmt: skip
    for typed, title in cases.items():
        assert suggested(sam, typed)[:1] == [title], typed
    for typed in ("", "re", "zzz", "recurxx", "such", "the an"):
        assert suggested(sam, typed) == [], typed


def test_suggestions_mark_the_starts_and_lead_on(client: Client, sam: Member) -> None:
    thread = factories.make_thread(sam, "Recursion & <b>trees</b>")
    html = client.get(SUGGEST, {"q": "recu", "box": "search"}).content.decode()
    assert "<mark>Recu</mark>rsion &amp; &lt;b&gt;trees&lt;/b&gt;" in html
    assert "1 thread below." in html
    assert 'id="search-status"' in html
    assert thread.get_absolute_url() in client.get(SUGGEST, {"q": "#1"}).content.decode()
    assert "<li>" not in client.get(SUGGEST, {"q": "zz", "box": '"><script>'}).content.decode()


def test_suggestions_that_take_long_are_none(sam: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.make_thread(sam, "Recursion in trees")

    def late(*args: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(1)")

    monkeypatch.setattr(search.suggesting, "TIMEOUT_MS", 1)
    monkeypatch.setattr(search.suggesting, "analyse", late)
    assert suggested(sam, "recu") == []
    monkeypatch.undo()
    assert suggested(sam, "recu") == ["Recursion in trees"]


# What it costs


def queries(client: Client, url: str) -> int:
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


@pytest.mark.parametrize(
    ("url", "limit"),
    [(f"{SEARCH}?q=default+parameter", 26), (f"{SEARCH}?q=is:question", 10), (f"{SUGGEST}?q=when+is+a+def", 10)],
)
def test_a_search_costs_the_same_at_one_thread_and_at_many(
    client: Client, sam: Member, noor: Member, tim: Member, url: str, limit: int
) -> None:
    def fill(number: int) -> None:
        for n in range(number):
            thread = factories.make_thread(
                sam, "When is a default parameter evaluated?", f"{n}", anonymity="all" if n % 2 else "named"
            )
            factories.make_post(noor, thread, "A default parameter?", anonymity="classmates" if n % 2 else "named")

    factories.make_answer(sam, tim)
    fill(5)
    few = queries(client, url)
    fill(15)
    # Fewer kinds of things on the page take fewer queries to load.
    assert queries(client, url) <= few <= limit


def test_common_words_look_at_the_best_only_and_still_see_what_is_allowed(
    sam: Member, noor: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(60):
        thread = factories.make_thread(sam, f"A loop, number {n}", visibility="staff" if n % 3 == 0 else "course")
        factories.make_post(sam, thread, "A loop again")
    exact = [hit.key for hit in find(parse_query("loop in:threads"), member=noor).hits]
    monkeypatch.setattr(search.finding, "COMMON", 10)
    monkeypatch.setattr(ranking, "STATISTICS_SECONDS", 0)
    assert [hit.key for hit in find(parse_query("loop in:threads"), member=noor).hits] == exact
    everything = find(parse_query("loop"), member=noor)
    assert len(everything.hits) == 20
    private = set(Thread.objects.filter(visibility="staff").values_list("pk", flat=True))
    assert not private & {hit.thread.pk for hit in everything.hits if hit.thread}


def test_word_statistics_are_measured_once(sam: Member) -> None:
    factories.make_thread(sam, "A loop")
    ranking.rarity(sam.course)
    with CaptureQueriesContext(connection) as captured:
        assert ranking.rarity(sam.course).documents == 1
    assert len(captured) == 0
    assert ranking.rarity(sam.course).of("loop") > 0


def test_days_are_those_of_the_reader(sam: Member) -> None:
    thread = factories.make_thread(sam, "A loop")
    day = timezone.localtime(thread.created_at).date()
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    assert titles(sam, f"loop after:{before} before:{after}") == ["A loop"]
    assert titles(sam, f"loop after:{day}") == []
    assert titles(sam, f"loop before:{day}") == []
