"""Every route × every persona × what may have become of the object: who reaches what, and who changes nothing.

The routes and their policies are those of `test_route_policies`; the personas are all there are: nobody, a student, a
classmate, a banned classmate, a student of another course, one who dropped and one who completed the course, a teaching
assistant, an instructor, an administrator of the institution, an operator, and somebody of another institution whose
course has the same address.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import cache
from django.db import connection, models, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch
from django.utils import timezone

from accounts import actions as account_actions
from accounts.models import Course, Enrollment, User
from ai_answers.models import Answer
from forum import actions
from forum.actions.threads import pseudonym_for
from forum.models import Anonymity, Assignment, Post, Thread
from tests import factories
from tests.ai_answers.test_review import be
from tests.factories import World
from tests.quokkaq.test_route_policies import (
    COURSE,
    GUARDED,
    OPERATORS,
    OWN_ONLY,
    POLICIES,
    PUBLIC,
    SIGNED_IN,
    STAFF,
    THREAD_ROUTES,
    Places,
    address,
    get_parameters,
    without_tokens,
)

OUTSIDE = ("pat", "dana", "chief", "root", "eve")
INSIDE = ("sam", "noor", "ben", "carl", "tim", "ada")
PERSONAS = ("nobody", *OUTSIDE, *INSIDE)
RUNS = ("tim", "ada")
# What a refused request may write all the same: that somebody was here.
NOTED = re.compile(
    r'(INSERT INTO|UPDATE|DELETE FROM) "?(django_session|accounts_ratecount|usersessions_usersession)', re.I
)
WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE)\b", re.I)


@pytest.fixture
def everybody(world: World) -> World:
    """The personas, and three more: a banned student, an administrator and an operator, none of them in a course."""
    world.people["ben"] = factories.make_user(world.institution, "ben")
    ben = factories.enroll(world.people["ben"], world.course)
    account_actions.set_ban(by=world.member("tim"), person=ben, until=None, reason="Spam")
    world.people["chief"] = factories.make_user(world.institution, "chief", is_staff=True, institution_role="admin")
    world.people["root"] = User.objects.create_superuser("root@example.edu", display_name="Root Surname-root")
    return world


def client_of(world: World, persona: str) -> Client:
    return Client() if persona == "nobody" else factories.browser(world.user(persona))


# What may have become of the object


def as_it_is(world: World, places: Places) -> None:
    pass


def private(world: World, places: Places) -> None:
    Thread.objects.update(visibility="staff")


def hidden(world: World, places: Places) -> None:
    thread = Thread.objects.get(number=places["number"])
    thread.course = world.course
    actions.hide_text(by=world.member("tim"), text=thread, reason="Off topic")


def pending(world: World, places: Places) -> None:
    Thread.objects.filter(number=places["number"]).update(moderation="pending")


def deleted(world: World, places: Places) -> None:
    actions.delete_thread(by=world.member("sam"), thread=Thread.objects.get(number=places["number"]))


def locked(world: World, places: Places) -> None:
    Thread.objects.update(is_locked=True)


def archived(world: World, places: Places) -> None:
    Course.objects.filter(pk=world.course.pk).update(status="archived")


def exam(world: World, places: Places) -> None:
    Course.objects.filter(pk=world.course.pk).update(posting_policy="read_only")


def anonymous(world: World, places: Places) -> None:
    """Hidden from classmates, as is whoever replied; what else sam did there under the name is gone."""
    thread, hidden_from = the_thread(places), Anonymity.CLASSMATES
    hide = {"anonymity": hidden_from, "pseudonym": pseudonym_for(world.member("sam"), thread, hidden_from)}
    Thread.objects.filter(pk=thread.pk).update(**hide)
    Post.objects.filter(thread=thread).update(**hide)


def draft(world: World, places: Places) -> None:
    """The machine's answer waits for staff."""
    put_answer(places, "draft")


def withdrawn(world: World, places: Places) -> None:
    put_answer(places, "withdrawn")


def embargoed(world: World, places: Places) -> None:
    """About homework that may not be solved yet."""
    later = timezone.now() + timedelta(days=1)
    Assignment.objects.filter(pk=places["assignment_id"]).update(embargo_until=later)
    Thread.objects.filter(number=places["number"]).update(assignment=places["assignment_id"])


def merged(world: World, places: Places) -> None:
    tim = world.member("tim")
    actions.merge_threads(by=tim, source=the_thread(places), target=factories.make_thread(tim, "The one that stays"))


def the_thread(places: Places) -> Thread:
    return Thread.objects.get(number=places["number"], course__slug=places["slug"], author__email="sam@example.edu")


def put_answer(places: Places, status: str) -> None:
    now = Answer.objects.current().get(thread=the_thread(places))
    be(now, status, body=f"{IN_ANSWER} [1].", body_html=f"<p>{IN_ANSWER}</p>")


STATES: dict[str, Callable[[World, Places], None]] = {
    state.__name__: state
    for state in (
        as_it_is, private, hidden, pending, deleted, locked, archived, exam, anonymous, draft, withdrawn, embargoed,
        merged,
    )
}  # fmt: skip
# Whose thread is nothing to classmates then, and to whom it still is something.
GONE_FOR_CLASSMATES = {"private", "hidden", "pending", "deleted"}
STUDENTS = ("sam", "noor", "ben", "carl")
# Words that stand in the thread and nowhere else, in the machine's answer, and its author's name.
IN_THREAD, IN_ANSWER, AUTHOR = "Zebrafish", "Quagga", "Surname-sam"


def may_read(persona: str, state: str) -> bool:
    """Tell whether the thread is something to a persona then."""
    if persona not in INSIDE:
        return False
    return persona in ("sam", *RUNS) or state not in GONE_FOR_CLASSMATES


def kept_from(persona: str, state: str) -> list[str]:
    """Return the words that may stand on no page of the thread, nor in a list, for a persona."""
    kept = [] if may_read(persona, state) else [IN_THREAD, IN_ANSWER]
    if state in ("draft", "withdrawn") and persona in STUDENTS:
        kept.append(IN_ANSWER)
    return kept


def may_not_write(persona: str, state: str) -> re.Pattern[str] | None:
    """Return which writing of texts a persona is barred from then, whatever is sent: all of it, new ones, or none."""
    if persona in ("ben", "carl") or state == "archived":
        return TO_TEXTS
    # Whose text it is may still mend it, and take it back.
    return NEW_TEXTS if state in ("locked", "exam") and persona in STUDENTS else None


@contextmanager
def taken_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def routes_of(policies: set[str]) -> list[str]:
    return sorted(name for name, policy in POLICIES.items() if policy in policies)


def cookies_of(client: Client) -> dict[str, str]:
    return {name: morsel.value for name, morsel in client.cookies.items()}


def stay_signed_in(client: Client, cookies: dict[str, str]) -> None:
    """Take the session back up: what one of the routes did to it is taken back in the database."""
    client.cookies.clear()
    for name, value in cookies.items():
        client.cookies[name] = value


def tried(
    client: Client, url: str, sent: dict[str, str], methods: tuple[str, ...] = ("get", "post")
) -> dict[str, tuple[Any, list[str]]]:
    """Return what GET and POST answer, and the rows each wrote."""
    found = {}
    for method in methods:
        with (
            taken_back(),
            CaptureQueriesContext(
                connection,
            ) as queries,
        ):
            response = getattr(client, method)(url, sent if method == "post" else None)
        written = [q["sql"] for q in queries if WRITES.match(q["sql"]) and not NOTED.search(q["sql"])]
        found[method] = (response, written)
    return found


def check(world: World, places: Places, persona: str, state: str) -> list[str]:
    """Return everything that is wrong for one persona in one state."""
    client, wrong = client_of(world, persona), []
    cookies = cookies_of(client)
    for name in routes_of({SIGNED_IN, COURSE, STAFF, PUBLIC, GUARDED, OPERATORS}):
        policy = POLICIES[name]
        url = address(name, places | {"token": "no-such-token"})
        in_course = policy in (COURSE, STAFF)
        own_slug = persona == "eve" and in_course and get_parameters(name) <= {"slug", "table", "kind"}
        stay_signed_in(client, cookies)
        for method, (response, written) in tried(client, url, {}).items():
            said, where = response.status_code, f"{persona} {state} {method} {name}"
            if said >= 500:
                wrong.append(f"{where}: {said}")
            if said >= 400 and written:
                wrong.append(f"{where}: refused with {said}, and wrote {written[0][:90]}")
            if policy == OPERATORS and persona not in ("nobody", "root") and said not in (404, 405):
                wrong.append(f"{where}: {said}, and it is for operators")
            if persona == "nobody" and policy in (SIGNED_IN, COURSE, STAFF, OPERATORS):
                if said != 302 or not response["Location"].startswith("/sign-in/"):
                    wrong.append(f"{where}: {said} without signing in")
            elif in_course and persona in OUTSIDE and not own_slug:
                if said not in (404, 405):
                    wrong.append(f"{where}: {said} outside the course")
            elif policy == STAFF and persona in INSIDE and persona not in RUNS and name not in OWN_ONLY:
                if said not in (403, 404, 405):
                    wrong.append(f"{where}: {said} for who doesn't run the course")
            elif name in OWN_ONLY and persona != OWN_ONLY[name] and not own_slug and said not in (403, 404, 405):
                wrong.append(f"{where}: {said}, and it is somebody else's")
            if (
                state in GONE_FOR_CLASSMATES and persona in ("noor", "ben", "carl") and policy == COURSE
                and "number" in get_parameters(name) and said not in (404, 405)
            ):  # fmt: skip
                wrong.append(f"{where}: {said}, and it isn't shown to classmates")
            if (persona in ("ben", "carl") or state == "archived") and method == "post" and in_course and written:
                wrong += [f"{where}: {said} wrote {sql[:80]}" for sql in written if CONTENT.search(sql)]
            body = response.content.decode(errors="replace") if not response.streaming else ""
            if persona in ("nobody", *OUTSIDE) and in_course and any(secret in body for secret in SECRETS):
                wrong.append(f"{where}: shows what is in the course")
    return wrong


# What people write, and only people who may.
CONTENT = re.compile(
    r'"forum_(thread|post|revision|endorsement|staffnote|tag|assignment)"|"ai_answers_(message|material)"'
)
SECRETS = ("Surname-sam", "default parameter", "Lecture on functions")


def some(names: tuple[str, ...], always: tuple[str, ...]) -> list[Any]:
    """Return all, those beyond `always` for the drills."""
    return [name if name in always else pytest.param(name, marks=pytest.mark.drill) for name in names]


@pytest.mark.parametrize("persona", some(PERSONAS, ("nobody", "noor", "eve")))
def test_who_reaches_what(everybody: World, places: Places, persona: str) -> None:
    wrong = check(everybody, places, persona, "as_it_is")
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def marked(everybody: World, places: Places) -> World:
    """The thread, its reply and the machine's answer hold words that stand nowhere else."""
    thread = the_thread(places)
    Thread.objects.filter(pk=thread.pk).update(
        title=f"{IN_THREAD} with stripes?", body=f"{IN_THREAD} body", body_html=f"<p>{IN_THREAD} body</p>"
    )
    Post.objects.filter(thread=thread).update(body=f"{IN_THREAD} reply", body_html=f"<p>{IN_THREAD} reply</p>")
    put_answer(places, "published")
    return everybody


READ = ("forum:thread", "forum:thread-history", "ai_answers:answer", "forum:list", "forum:search", "forum:activity")


def wrongly_read(client: Client, persona: str, state: str, places: Places) -> list[str]:
    """Return what is wrong with the pages on which the thread may be read of."""
    wrong = []
    for name in READ if persona in INSIDE else READ[:1]:
        where = f"{persona} {state} {name}"
        response = client.get(address(name, places), {"q": "stripes"} if name == "forum:search" else None)
        body = response.content.decode()
        wrong += [f"{where}: shows {word}" for word in kept_from(persona, state) if word in body]
        if name == "forum:thread":
            said = response.status_code
            expected = 302 if persona == "nobody" or (state == "merged" and persona in INSIDE) else 200
            if said != (expected if may_read(persona, state) or persona == "nobody" else 404):
                wrong.append(f"{where}: {said}")
        if state == "anonymous" and name in READ[:3] and persona in ("noor", "ben", "carl") and AUTHOR in body:
            wrong.append(f"{where}: shows who hides")
    return wrong


def test_in_every_state_the_thread_is_read_by_whom_it_is_for(marked: World, places: Places) -> None:
    world, wrong = marked, list[str]()
    clients = {persona: client_of(world, persona) for persona in PERSONAS}
    for state, happens in STATES.items():
        with taken_back():
            happens(world, places)
            cache.clear()
            for persona, client in clients.items():
                wrong += wrongly_read(client, persona, state, places)
    assert not wrong, "\n".join(wrong)


def test_the_words_looked_for_are_there_to_be_seen(marked: World, places: Places) -> None:
    """The control: what is kept from some stands on the pages of those it is for."""
    noor, tim = client_of(marked, "noor"), client_of(marked, "tim")
    for name, word in (("forum:thread", IN_ANSWER), ("forum:list", IN_THREAD), ("forum:thread", AUTHOR)):
        assert word in noor.get(address(name, places)).content.decode(), name
    assert IN_THREAD in noor.get(address("forum:search", places), {"q": "stripes"}).content.decode()
    draft(marked, places)
    assert IN_ANSWER in tim.get(address("forum:thread", places)).content.decode()
    anonymous(marked, places)
    assert AUTHOR in tim.get(address("forum:thread", places)).content.decode()


# What every form of a thread takes.
SENT = {
    "body": "Words of somebody",
    "title": "What is a generator?",
    "text": "Words of somebody",
    "on": "1",
    "reason": "spam",
}
TO_TEXTS = re.compile(r'(INSERT INTO|UPDATE) "(forum_thread|forum_post|forum_revision)"', re.I)
NEW_TEXTS = re.compile(r'INSERT INTO "(forum_thread|forum_post)"', re.I)


def wrong_in_state(client: Client, persona: str, state: str, places: Places) -> list[str]:
    """Return what is wrong with every route of the thread, by GET and by POST with a form that could be taken."""
    wrong, cookies = [], cookies_of(client)
    for name in THREAD_ROUTES:
        sent = SENT | {"form_key": str(uuid.uuid4())}
        stay_signed_in(client, cookies)
        for method, (response, written) in tried(client, address(name, places), sent).items():
            said, where = response.status_code, f"{persona} {state} {method} {name}"
            if said >= 500:
                wrong.append(f"{where}: {said}")
            if said >= 400 and written:
                wrong.append(f"{where}: refused with {said}, and wrote {written[0][:90]}")
            if persona == "nobody":
                # What was typed is given back, and the way to sign in.
                to_sign_in = said == 302 and response["Location"].startswith("/sign-in/")
                if not to_sign_in and (method == "get" or said != 403):
                    wrong.append(f"{where}: {said} without signing in")
            elif not may_read(persona, state) and said not in (404, 405):
                # Who may never do it is told so, whatever the number is.
                nowhere, _ = tried(client, address(name, places | {"number": 987654}), sent, (method,))[method]
                if (nowhere.status_code, without_tokens(nowhere)) != (said, without_tokens(response)):
                    wrong.append(f"{where}: {said}, and it isn't shown to them")
            elif state == "merged" and said == 302 and not written:
                pass  # brought to the thread that stays, before it is asked who may do what
            elif (
                POLICIES[name] == STAFF and persona in STUDENTS and name not in OWN_ONLY and said not in (403, 404, 405)
            ):
                wrong.append(f"{where}: {said} for who doesn't run the course")
            body = response.content.decode(errors="replace") if not response.streaming else ""
            wrong += [f"{where}: shows {word}" for word in kept_from(persona, state) if word in body]
            if state == "anonymous" and persona in ("noor", "ben", "carl") and AUTHOR in body:
                wrong.append(f"{where}: shows who hides")
            barred = may_not_write(persona, state)
            if barred is not None:
                wrong += [f"{where}: {said} wrote {sql[:90]}" for sql in written if barred.search(sql)]
    return wrong


@pytest.mark.drill
@pytest.mark.parametrize("state", STATES)
def test_who_does_what_with_the_thread_in_every_state(marked: World, places: Places, state: str) -> None:
    """Every route of a thread × everybody who has to do with the course: all share one world, to which all is given back.

    To who is outside, whatever became of the thread, the course itself is nothing: the test above and `as_it_is` say so.
    """
    STATES[state](marked, places)
    people = PERSONAS if state == "as_it_is" else INSIDE
    wrong = [line for persona in people for line in wrong_in_state(client_of(marked, persona), persona, state, places)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("persona", some(("noor", "tim", "pat", "eve"), ("eve",)))
def test_foreign_and_missing_are_one_page(everybody: World, places: Places, persona: str) -> None:
    """Whatever key, number or slug is in the address: what one may not know of looks like what there isn't."""
    private(everybody, places) if persona == "noor" else None
    client, different = client_of(everybody, persona), []
    cookies = cookies_of(client)
    for name in routes_of({SIGNED_IN, COURSE, STAFF}):
        try:
            missing = address(name, places | MISSING)
        except NoReverseMatch:
            continue
        if not get_parameters(name) - {"table", "kind"}:
            continue
        for method in ("get", "post"):
            stay_signed_in(client, cookies)
            with taken_back():
                there = getattr(client, method)(address(name, places))
            with taken_back():
                nowhere = getattr(client, method)(missing)
            if there.status_code == 404 and without_tokens(there) != without_tokens(nowhere):
                different.append(f"{method} {name}: {nowhere.status_code}")
    assert different == []


MISSING: Places = {"number": 987654, "slug": "no-such-course"}


# Mass assignment


def every_field(world: World) -> dict[str, Any]:
    """Return the name of every field of every model of ours, with the value somebody would wish for."""
    wishes: dict[str, Any] = {}
    noor = world.user("noor")
    for model in apps.get_models():
        if model._meta.app_label not in ("accounts", "forum", "ai_answers"):
            continue
        for field in model._meta.get_fields():
            if not isinstance(field, models.Field):
                continue
            wished: Any = "1"
            if isinstance(field, models.BooleanField):
                wished = "on"
            elif field.choices:
                wished = str(list(field.flatchoices)[-1][0])
            elif field.remote_field is not None:
                related: Any = field.remote_field.model
                wished = (
                    str(noor.pk) if related is User else str(related._base_manager.values_list("pk", flat=True).first())
                )
            elif isinstance(field, models.DateTimeField):
                wished = "2001-01-01T00:00"
            wishes[field.name] = wishes[getattr(field, "attname", field.name)] = wished
    return wishes | {
        "role": "instructor", "status": "active", "is_staff": "on", "is_superuser": "on", "institution_role": "admin",
        "institution": str(world.other_institution.pk), "email": "taken@example.edu", "password": "x" * 12,
    }  # fmt: skip


# What a student may say of themselves and of what they write, and what the database counts when they do.
MAY_CHANGE = {
    "accounts_user": {"display_name", "pronouns", "time_zone", "theme", "feed_key", "avatar", "last_login"},
    "forum_thread": set(),
    "forum_post": set(),
}
FIXED = {
    "accounts_institution": None, "accounts_course": None, "accounts_enrollment": None,
    "ai_answers_courseai": None, "ai_answers_institutionai": None,
}  # fmt: skip


def snapshot(world: World) -> dict[str, Any]:
    """Return everything a student has no say in."""
    kept: dict[str, Any] = {}
    people = [f.attname for f in User._meta.concrete_fields if f.name not in MAY_CHANGE["accounts_user"]]
    kept["people"] = list(User.objects.get_queryset().order_by("pk").values_list(*people))
    for model in apps.get_models():
        if model._meta.db_table in FIXED:
            names = [f.attname for f in model._meta.concrete_fields if f.name != "last_thread_number"]
            kept[model._meta.db_table] = list(model._base_manager.order_by("pk").values_list(*names))
    kept["enrollments"] = list(Enrollment.objects.order_by("pk").values())
    others = {"author": world.user("sam")}
    privileged = ("author_id", "institution_id", "course_id", "number", "is_pinned", "is_locked", "moderation", "kind",
                  "visibility", "anonymity", "title", "body", "created_at", "accepted_post_id", "assignee_id",
                  "duplicate_of_id", "merged_into_id")  # fmt: skip
    of_threads = {f.attname for f in Thread._meta.concrete_fields}
    kept["threads"] = list(Thread.objects.filter(**others).order_by("pk").values(*sorted(set(privileged) & of_threads)))
    of_posts = {f.attname for f in Post._meta.concrete_fields}
    wanted = (
        "author_id",
        "institution_id",
        "thread_id",
        "body",
        "is_staff_answer",
        "moderation",
        "anonymity",
        "deleted_at",
    )
    kept["posts"] = list(Post.objects.filter(**others).order_by("pk").values(*sorted(set(wanted) & of_posts)))
    return kept


def test_a_form_with_every_field_there_is_changes_nothing_privileged(everybody: World, places: Places) -> None:
    world = everybody
    client, wishes = client_of(world, "noor"), every_field(world)
    assert len(wishes) > 250
    before, changed, cookies = snapshot(world), [], cookies_of(client)
    valid = {
        "title": "What is a generator?", "body": "I don't know.", "kind": "question", "visibility": "course",
        "anonymity": "named", "display_name": "Noor Surname-noor", "time_zone": "UTC", "theme": "auto", "pronouns": "",
        "text": "What is a generator?", "post_anyway": "1",
    }  # fmt: skip
    answered = 0
    for name in routes_of({SIGNED_IN, COURSE, STAFF}):
        stay_signed_in(client, cookies)
        with taken_back():
            response = client.post(address(name, places), wishes | valid)
            answered += response.status_code in (200, 204, 302)
            after = snapshot(world)
            changed += [f"{name}: {part}" for part in before if after[part] != before[part]]
            new = Thread.objects.filter(author=world.user("noor")).first()
            if new is not None:
                privileged = (new.is_pinned, new.is_locked, new.assignee_id, new.institution_id, new.course_id)
                if privileged != (False, False, None, world.institution.pk, world.course.pk):
                    changed.append(f"{name}: a thread with {privileged}")
            for post in Post.objects.filter(author=world.user("noor")):
                if post.institution_id != world.institution.pk or post.created_at.year < 2020:
                    changed.append(f"{name}: a post")
    assert changed == []
    # The control: the forms were taken.
    assert answered > 20
