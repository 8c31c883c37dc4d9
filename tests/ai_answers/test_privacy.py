"""What leaves this server says nothing of who people are, leaves with consent alone, and is there to be read."""

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent, Consent, User
from ai_answers import actions, querysets
from ai_answers.actions.calls import may_disclose
from ai_answers.citations import locate
from ai_answers.engines import Quote, Request, Source, Statement, Task, Turn
from ai_answers.models import AIConsent, CallOutcome, Disclosure, InstitutionAI, ModelCall, Purpose
from ai_answers.neutralising import neutralise, render_neutral
from ai_answers.privacy import Pseudonyms, pseudonyms_for
from ai_answers.search import Question
from ai_answers.views import consent_context
from quokkaq.lib.pii import find_identifiers
from tests.factories import World

SignIn = Callable[[User], Client]
NAMES = ["Ada Lovelace", "Sam Lee", "Noor Al-Haddad", "Will Young", "Sam Park"]


def masked(text: str, *texts: str) -> str:
    return Pseudonyms(NAMES, [text, *texts]).mask(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Lovelace said so.", "Person 1 said so."),
        ("ADA  LOVELACE and ada, and Lovelace!", "Person 1 and Person 1, and Person 1!"),
        ("Noor Al-Haddad asked Ada.", "Person 1 asked Person 2."),
        ("Will will do it.", "Person 1 will do it."),
        ("Is the hash young?", "Is the hash young?"),
        ("Adapt the Samples", "Adapt the Samples"),
        ("Mail ada@example.edu or +49 170 1234567.", "Mail [email 1] or [phone 1]."),
        ("I'm student no. 12345678, also u1234567.", "I'm student no. [id 1], also [id 2]."),
        ("My key is sk-abcdefghijklmnopqrstuv", "My key is [key 1]"),
        ("x = 12345678; range(1000000)", "x = 12345678; range(1000000)"),
        ("No names here", "No names here"),
    ],
)
def test_names_addresses_and_numbers_become_placeholders(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_a_first_name_of_two_is_neither() -> None:
    text = "Sam Lee told Sam Park what Sam said."
    assert masked(text) == "Person 1 told Person 2 what Person 3 said."


def test_placeholders_stay_apart_from_what_people_wrote() -> None:
    assert masked("Ada and Person 1") == "Member 1 and Person 1"
    assert masked("Ada, Person 1, Member 2, Individual 3, Somebody 4").startswith("Person no. 1,")


def test_one_request_has_one_placeholder_for_one_person() -> None:
    request = Request(
        Task.CONVERSATION,
        Question("Ada?", "noor@example.edu asks"),
        [Source("By Ada Lovelace", "Ask Ada or noor@example.edu.")],
        [Turn(False, "I am Noor.")],
    )
    pseudonyms = Pseudonyms(NAMES, ["Ada Noor"])
    sent = pseudonyms.mask_request(request)
    person = sent.sources[0].title.removeprefix("By ")
    assert sent.sources[0].text == f"Ask {person} or [email 1]."
    assert sent.question == Question(f"{person}?", "[email 1] asks")
    assert "Noor" not in sent.history[0].text
    assert sent.retrieval is None


def test_quotations_come_back_exactly_and_names_where_they_are_certain() -> None:
    text = "Ask Ada  Lovelace (ada@example.edu)\nbefore noon; Lovelace knows. Noor agrees."
    request = Request(Task.ANSWER, Question("Whom?"), [Source("Notes", text)])
    pseudonyms = Pseudonyms(NAMES, [text])
    sent = pseudonyms.mask_request(request).sources[0].text
    assert "Ada" not in sent
    back = pseudonyms.unmask(Statement("Person 1, says Person 2 [email 1].", [Quote(1, " ".join(sent.split()))]))
    assert back.quotes[0].text == text
    # Two forms of Ada were there, so which one to put back isn't certain; an address never comes back.
    assert back.text == "Person 1, says Noor [email 1]."


@pytest.mark.parametrize("start", range(0, 40, 3))
def test_any_part_of_a_masked_source_leads_back_to_its_own_words(start: int) -> None:
    text = "Ask Ada Lovelace, then Noor, then Sam Lee; write to sam@example.edu about the exam on Friday."
    pseudonyms = Pseudonyms(NAMES, [text])
    masked_text = pseudonyms.mask_request(Request(Task.ANSWER, Question("?"), [Source("N", text)])).sources[0].text
    quote = pseudonyms.unmask(Statement("x", [Quote(1, masked_text[start : start + 30])])).quotes[0]
    assert quote.text in text


@pytest.mark.parametrize(
    "quote", [Quote(0, "Ask Person 1"), Quote(9, "Ask Person 1"), Quote(1, "  "), Quote(1, "not there")]
)
def test_a_quotation_of_nothing_stays_as_it_is(quote: Quote) -> None:
    pseudonyms = Pseudonyms(NAMES, ["Ask Ada"])
    pseudonyms.mask_request(Request(Task.ANSWER, Question("?"), [Source("N", "Ask Ada now")]))
    assert pseudonyms.unmask(Statement("x", [quote])).quotes == [quote]
    assert locate(Quote(1, "x"), []) is None


def test_spans_of_identifiers_dont_overlap() -> None:
    text = "student id s1234567@example.edu and matriculation number: 1234567, tel. (030) 123 45678"
    spans = find_identifiers(text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert [kind for *_, kind in spans] == ["email", "id", "phone"]


@pytest.mark.parametrize("unit", ["student id ", "a@", "+1 2 ", "sk-", "Ada ", "s1234567"])
def test_masking_is_linear_in_what_people_write(unit: str) -> None:
    started = timezone.now()
    masked(unit * 5000)
    assert timezone.now() - started < timedelta(seconds=3)


def test_everybody_of_the_course_is_masked(world: World) -> None:
    body = " ".join(user.display_name for user in world.people.values())
    request = Request(Task.ANSWER, Question("Who?", body), [])
    sent = pseudonyms_for(request, world.course, world.user("eve")).mask_request(request).question.body
    for name in ("ada", "tim", "sam", "noor", "dana", "carl", "eve"):
        assert f"Surname-{name}" not in sent
    assert "Surname-pat" in sent  # another course


def test_only_who_agreed_discloses(world: World) -> None:
    sam, noor = world.user("sam"), world.user("noor")
    assert not may_disclose(sam, Purpose.ANSWER)
    actions.set_consent(by=sam, is_given=True)
    actions.set_consent(by=sam, is_given=True)
    assert (may_disclose(sam, Purpose.ANSWER), may_disclose(noor, Purpose.ANSWER)) == (True, False)
    actions.set_consent(by=sam, is_given=False)
    assert not may_disclose(sam, Purpose.ANSWER)
    assert not may_disclose(None, Purpose.SUMMARY)
    verbs = AuditEvent.objects.filter(actor=sam).order_by("created_at").values_list("verb", flat=True)
    assert list(verbs) == ["ai_consent.given", "ai_consent.withdrawn"]


def test_consent_is_asked_once_and_where_it_matters(world: World, settings: Any) -> None:
    member = world.member("sam")
    assert consent_context(member, "/x/")["consent_asked_of"] == ""
    settings.OPENAI_MODEL, settings.OPENAI_API_KEY = "m-1", "sk-canary"
    InstitutionAI.objects.create(institution=world.institution, engine="openai")
    assert consent_context(member, "/x/") == {"consent_asked_of": "OpenAI-compatible model", "consent_next": "/x/"}
    actions.set_consent(by=member.user, is_given=False)
    assert consent_context(member, "/x/")["consent_asked_of"] == ""


@pytest.mark.parametrize("given", [True, False])
def test_another_wording_is_asked_for_again(
    world: World, settings: Any, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """What was agreed to in other words counts no more: nothing leaves the server until somebody decides again."""
    sam, member = world.user("sam"), world.member("sam")
    settings.OPENAI_MODEL, settings.OPENAI_API_KEY = "m-1", "sk-canary"
    InstitutionAI.objects.create(institution=world.institution, engine="openai")
    actions.set_consent(by=sam, is_given=given)
    assert may_disclose(sam, Purpose.ANSWER) is given
    monkeypatch.setattr(querysets, "CONSENT_VERSION", "2031-01")
    assert not may_disclose(sam, Purpose.ANSWER)
    assert consent_context(member, "/x/")["consent_asked_of"] == "OpenAI-compatible model"
    page = signed_in(sam).get("/me/ai/").content.decode()
    assert "worded anew" in page
    assert "Withdraw my consent" not in page
    for _ in range(2):
        actions.set_consent(by=sam, is_given=given)
    assert may_disclose(sam, Purpose.ANSWER) is given
    assert consent_context(member, "/x/")["consent_asked_of"] == ""
    decisions = Consent.objects.filter(user=sam).order_by("created_at", "pk").values_list("version", "is_given")
    assert list(decisions) == [("2026-11", given), ("2031-01", given)]


# The wording that each version stands for. A changed one gets another version, and its line here.
WORDINGS = {"2026-11": "ca01244b05899cb3"}


def source(name: str) -> str:
    return (Path(settings.BASE_DIR) / "templates" / "ai_answers" / f"{name}.html").read_text(encoding="utf-8")


def test_a_version_of_the_consent_is_one_wording() -> None:
    """Whoever changes what people agree to changes its version: else nobody would be asked again."""
    asked = re.findall(r"<h2.*?</p>", source("_consent"), re.DOTALL)
    explained = re.findall(r'<p class="muted">{% if has_models %}.*?</p>', source("disclosures"), re.DOTALL)
    assert (len(asked), len(explained)) == (1, 1)
    said = " ".join(" ".join(asked + explained).split())
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    assert WORDINGS[querysets.CONSENT_VERSION] == digest, "Give the new wording a version of its own."


def test_a_person_gives_consent_and_takes_it_back(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    page = client.get("/me/ai/").content.decode()
    assert "You haven’t been asked yet" in page
    assert reverse("ai:disclosures") in client.get("/me/").content.decode()
    done = client.post("/me/ai/consent/", {"given": "yes", "next": "/courses/"})
    assert done["Location"] == "/courses/"
    assert AIConsent.objects.get(user=world.user("sam")).is_given
    assert "Withdraw my consent" in client.get("/me/ai/").content.decode()
    done = client.post("/me/ai/consent/", {"given": "no", "next": "https://evil.example/"})
    assert done["Location"] == "/me/ai/"
    assert "stay on this server" in client.get("/me/ai/").content.decode()
    said = client.post("/me/ai/consent/", {"given": "maybe"}, follow=True).content.decode()
    assert "Choose whether" in said
    assert not AIConsent.objects.get(user=world.user("sam")).is_given
    assert AIConsent.objects.count() == 1


def sent(world: World, name: str, count: int = 1) -> None:
    for number in range(count):
        user = world.user(name)
        call = ModelCall.objects.create(
            institution_id=user.institution_id, course=world.course, user=user, engine="openai", model="m-1",
            outcome=CallOutcome.ANSWERED, attempts=2,
        )  # fmt: skip
        Disclosure.objects.create(
            institution_id=user.institution_id, call=call, user=user, course=world.course, provider="openai",
            model="m-1", text=f"<b>text of {name} {number}</b>", sent_at=timezone.now() - timedelta(minutes=number),
        )  # fmt: skip


def test_the_log_is_read_by_nobody_else(world: World, signed_in: SignIn) -> None:
    for name in ("sam", "ada"):
        sent(world, name)
    page = signed_in(world.user("sam")).get("/me/ai/").content.decode()
    assert "&lt;b&gt;text of sam 0" in page
    assert "text of ada" not in page
    for name in ("noor", "tim", "pat", "eve"):
        assert "text of" not in signed_in(world.user(name)).get("/me/ai/").content.decode()
    assert Client().get("/me/ai/").status_code == 302


def test_the_log_has_pages_and_costs_the_same_at_any_length(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    sent(world, "sam")
    with CaptureQueriesContext(connection) as few:
        client.get("/me/ai/")
    sent(world, "sam", 45)
    with CaptureQueriesContext(connection) as many:
        response = client.get("/me/ai/")
    assert len(many) == len(few)
    texts: list[str] = []
    while True:
        texts += [row.text for row, _ in response.context["rows"]]
        if not response.context["next"]:
            break
        response = client.get("/me/ai/", {"cursor": response.context["next"]})
    assert len(texts) == 46
    response = client.get("/me/ai/", {"cursor": "nonsense"})
    assert response.status_code == 400
    assert "Showing the newest" in response.content.decode()


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("See [the notes](https://evil.example/?q=1).", "See the notes."),
        ("![pixel](https://evil.example/x.png)", "pixel"),
        ("[![pixel](https://evil.example/x.png)](https://evil.example)", "pixel"),
        ("[text][ref]\n\n[ref]: https://evil.example", "text\n\n"),
        ("<https://evil.example> <mailto:a@b.example> <a@b.example>", "https://evil.example mailto:a@b.example a@b.example"),
        ("a[0](1) stays code-like", "a0 stays code-like"),
        ("`x < y` and **bold** [1]", "`x < y` and **bold** [1]"),
    ],
)  # fmt: skip
def test_links_and_images_of_a_machine_become_text(markdown: str, expected: str) -> None:
    assert neutralise(markdown) == expected
    html = render_neutral(markdown)
    assert "<a" not in html
    assert "<img" not in html


def test_what_a_machine_writes_calls_nobody_and_points_at_no_thread() -> None:
    html = render_neutral('#1 @Sam <script>alert(1)</script> <a href="x">y</a> [z](http://e "a>b")')
    assert "<a" not in html
    assert "mention" not in html
    assert "<script" not in html
    assert "z" in html


@pytest.mark.parametrize(
    "back", ["'; DROP TABLE x; --", "x" * 5000, "//evil.example/", "https://evil.example/", "a\x00b", ""]
)
def test_a_way_back_that_is_none_leads_to_the_page_itself(world: World, back: str) -> None:
    client = Client()
    client.force_login(world.user("sam"))
    for given in ("yes", "nonsense"):
        response = client.post("/me/ai/consent/", {"given": given, "next": back})
        assert response["Location"] == "/me/ai/"
