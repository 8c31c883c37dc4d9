"""Who may reach what: every route of the URLconf states its policy here, and every persona is tried on it."""

import copy
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts import actions as account_actions
from accounts.models import Enrollment
from accounts.views.privacy import ticket_for
from ai_answers import actions as ai_actions
from ai_answers.models import Material
from forum import actions
from forum.models import Thread
from tests import factories
from tests.factories import World

Places = dict[str, Any]
PUBLIC, SIGNED_IN, COURSE, STAFF, GUARDED = "public", "signed in", "course", "staff", "guarded"
OPERATORS = "operators"

POLICIES = {
    "health": PUBLIC,
    "ready": PUBLIC,
    "startup": PUBLIC,
    "status": PUBLIC,
    "ping": PUBLIC,
    "metrics": GUARDED,
    "feed": GUARDED,
    "accounts:home": PUBLIC,
    "accounts:sign-in": PUBLIC,
    "accounts:sign-out": PUBLIC,
    "account_login": PUBLIC,
    "account_logout": PUBLIC,
    "account_inactive": PUBLIC,
    "find-institution": PUBLIC,
    "sign-in-at": PUBLIC,
    "account_signup": PUBLIC,
    "account_sign_up_sent": PUBLIC,
    "sign-up-finish": PUBLIC,
    "account_reset_password": PUBLIC,
    "account_reset_password_done": PUBLIC,
    "account_reset_password_from_key_done": PUBLIC,
    "account_reset_password_from_key": PUBLIC,
    "account_email_verification_sent": PUBLIC,
    "account_confirm_email": PUBLIC,
    "mfa_authenticate": PUBLIC,
    "mfa_login_webauthn": PUBLIC,
    "socialaccount_login_cancelled": PUBLIC,
    "socialaccount_login_error": PUBLIC,
    "socialaccount_signup": PUBLIC,
    "openid_connect_login": PUBLIC,
    "openid_connect_callback": PUBLIC,
    "saml_login": PUBLIC,
    "saml_acs": PUBLIC,
    "saml_finish_acs": PUBLIC,
    "saml_metadata": PUBLIC,
    "saml_sls": PUBLIC,
    "mfa_index": SIGNED_IN,
    "usersessions_list": SIGNED_IN,
    "account_reauthenticate": SIGNED_IN,
    "mfa_reauthenticate": SIGNED_IN,
    "mfa_reauthenticate_webauthn": SIGNED_IN,
    "sign-in-again": SIGNED_IN,
    "account_change_password": SIGNED_IN,
    "account_set_password": SIGNED_IN,
    "account_email": SIGNED_IN,
    "mfa_activate_totp": SIGNED_IN,
    "mfa_deactivate_totp": SIGNED_IN,
    "mfa_view_recovery_codes": SIGNED_IN,
    "mfa_generate_recovery_codes": SIGNED_IN,
    "mfa_list_webauthn": SIGNED_IN,
    "mfa_add_webauthn": SIGNED_IN,
    "mfa_edit_webauthn": SIGNED_IN,
    "mfa_remove_webauthn": SIGNED_IN,
    "socialaccount_connections": SIGNED_IN,
    "accounts:courses": SIGNED_IN,
    "accounts:invitation": PUBLIC,
    "accounts:join": SIGNED_IN,
    "accounts:join-course": SIGNED_IN,
    "accounts:profile": SIGNED_IN,
    "accounts:change-avatar": SIGNED_IN,
    "accounts:avatar": SIGNED_IN,
    "accounts:start-upload": SIGNED_IN,
    "accounts:enter-institution": OPERATORS,
    "accounts:leave-institution": OPERATORS,
    "accounts:upload": SIGNED_IN,
    "accounts:upload-content": SIGNED_IN,
    "accounts:upload-confirm": SIGNED_IN,
    "accounts:upload-discard": SIGNED_IN,
    "accounts:file": SIGNED_IN,
    "accounts:change-feeds": SIGNED_IN,
    "lti:root": SIGNED_IN,
    "lti:platforms": SIGNED_IN,
    "lti:add-platform": SIGNED_IN,
    "lti:platform": SIGNED_IN,
    "lti:rotate-key": SIGNED_IN,
    "lti:jwks": PUBLIC,
    "lti:config": PUBLIC,
    "lti:login": PUBLIC,
    "lti:launch": GUARDED,
    "lti:connect": GUARDED,
    "lti:course": SIGNED_IN,
    "lti:deep-link": SIGNED_IN,
    "accounts:data": SIGNED_IN,
    "accounts:data-progress": SIGNED_IN,
    "accounts:download-data": SIGNED_IN,
    "accounts:erase": SIGNED_IN,
    "accounts:keep-account": SIGNED_IN,
    "inbox:list": SIGNED_IN,
    "inbox:count": SIGNED_IN,
    "inbox:read-all": SIGNED_IN,
    "inbox:open": SIGNED_IN,
    "inbox:preferences": SIGNED_IN,
    "inbox:unsubscribe": PUBLIC,
    "inbox:inbound": GUARDED,
    "inbox:mails": SIGNED_IN,
    "inbox:mail": SIGNED_IN,
    "inbox:mail-html": SIGNED_IN,
    "forum:list": COURSE,
    "forum:ask": COURSE,
    "forum:search": COURSE,
    "forum:suggest": COURSE,
    "forum:similar": COURSE,
    "forum:deflect": COURSE,
    "forum:preview": COURSE,
    "forum:activity": COURSE,
    "forum:points": COURSE,
    "forum:points-csv": COURSE,
    "forum:insights": STAFF,
    "forum:insights-csv": STAFF,
    "forum:thread": COURSE,
    "forum:draft-thread": COURSE,
    "forum:draft-reply": COURSE,
    "forum:draft-comment": COURSE,
    "forum:save-view": COURSE,
    "forum:delete-view": COURSE,
    "forum:same-question": COURSE,
    "forum:follow-thread": COURSE,
    "forum:add-note": STAFF,
    "forum:delete-note": STAFF,
    "forum:edit-thread": COURSE,
    "forum:thread-history": COURSE,
    "forum:vote-thread": COURSE,
    "forum:resolve-thread": COURSE,
    "forum:pin-thread": STAFF,
    "forum:lock-thread": STAFF,
    "forum:delete-thread": COURSE,
    "forum:restore-thread": COURSE,
    "forum:flags": STAFF,
    "forum:approvals": STAFF,
    "forum:approve-all": STAFF,
    "forum:undo-merge": STAFF,
    "forum:ban": STAFF,
    "forum:flag-thread": COURSE,
    "forum:decide-thread": STAFF,
    "forum:hide-thread": STAFF,
    "forum:unhide-thread": STAFF,
    "forum:approve-thread": STAFF,
    "forum:duplicate": COURSE,
    "forum:merge": STAFF,
    "forum:move": STAFF,
    "forum:refile": STAFF,
    "forum:open-up": COURSE,
    "forum:flag-post": COURSE,
    "forum:decide-post": STAFF,
    "forum:hide-post": STAFF,
    "forum:unhide-post": STAFF,
    "forum:approve-post": STAFF,
    "forum:reply": COURSE,
    "forum:comment": COURSE,
    "forum:edit-post": COURSE,
    "forum:post-history": COURSE,
    "forum:vote-post": COURSE,
    "forum:endorse-post": STAFF,
    "forum:accept-post": COURSE,
    "forum:delete-post": COURSE,
    "forum:restore-post": COURSE,
    "forum:queue": STAFF,
    "forum:assign-thread": STAFF,
    "forum:insert-template": STAFF,
    "forum:bulk": STAFF,
    "forum:templates": STAFF,
    "forum:add-template": STAFF,
    "forum:edit-template": STAFF,
    "forum:delete-template": STAFF,
    "forum:course": STAFF,
    "forum:course-settings": STAFF,
    "forum:open-posting": STAFF,
    "forum:archive-course": STAFF,
    "forum:audit": STAFF,
    "forum:audit-csv": STAFF,
    "forum:roster": STAFF,
    "forum:add-people": STAFF,
    "forum:roster-csv": STAFF,
    "forum:import-roster": STAFF,
    "forum:roster-import": STAFF,
    "forum:invitations": STAFF,
    "forum:join-code": STAFF,
    "forum:enrollment": STAFF,
    "forum:lms": STAFF,
    "forum:sections": STAFF,
    "forum:assignments": STAFF,
    "forum:add-assignment": STAFF,
    "forum:edit-assignment": STAFF,
    "forum:delete-assignment": STAFF,
    "forum:tags": STAFF,
    "forum:rename-tag": STAFF,
    "forum:delete-tag": STAFF,
    "ai:disclosures": SIGNED_IN,
    "ai:consent": SIGNED_IN,
    "ai_answers:spending": STAFF,
    "ai_answers:spending-csv": STAFF,
    "ai_answers:evaluation": STAFF,
    "ai_answers:answer": COURSE,
    "ai_answers:endorse-answer": STAFF,
    "ai_answers:retry-answer": COURSE,
    "ai_answers:publish-answer": STAFF,
    "ai_answers:edit-answer": STAFF,
    "ai_answers:withdraw-answer": STAFF,
    "ai_answers:regenerate-answer": STAFF,
    "ai_answers:answer-history": STAFF,
    "ai_answers:answer-feedback": COURSE,
    "ai_answers:ask-person": COURSE,
    "ai_answers:review": STAFF,
    "ai_answers:course-ai": STAFF,
    "ai_answers:confidence": STAFF,
    "ai_answers:refit": STAFF,
    "ai_answers:summary": COURSE,
    "ai_answers:conversations": COURSE,
    "ai_answers:conversation": COURSE,
    "ai_answers:delete-conversation": COURSE,
    "ai_answers:export-conversation": COURSE,
    "ai_answers:message": COURSE,
    "ai_answers:message-stream": COURSE,
    "ai_answers:stop-message": COURSE,
    "ai_answers:retry-message": COURSE,
    "ai_answers:preview": COURSE,
    "ai_answers:preview-panel": COURSE,
    "ai_answers:accept-preview": COURSE,
    "ai:overview": SIGNED_IN,
    "ai_answers:materials": COURSE,
    "ai_answers:material": COURSE,
    "ai_answers:add-material": STAFF,
    "ai_answers:add-version": STAFF,
    "ai_answers:imports": STAFF,
    "ai_answers:retry-import": STAFF,
    "ai_answers:dismiss-import": STAFF,
    "ai_answers:material-file": STAFF,
    "ai_answers:material-versions": COURSE,
    "ai_answers:delete-material": STAFF,
    "ai_answers:restore-material": STAFF,
}
# GET answers 405 there, also to those who may POST.
# Belongs to one persona: also to other members it is nothing.
OWN_ONLY = {
    "forum:delete-view": "sam",
    "forum:delete-note": "tim",
    **{f"accounts:{name}": "sam" for name in ("upload", "upload-content", "upload-confirm", "upload-discard", "file", "download-data")},
    **{
        f"ai_answers:{name}": "sam"
        for name in (
            "conversation", "delete-conversation", "export-conversation", "message", "message-stream", "stop-message",
            "retry-message", "preview-panel", "accept-preview",
        )
    },
}  # fmt: skip
# TAs may look at the course's set-up and not change these.
INSTRUCTORS_ONLY = {
    "forum:import-roster", "forum:roster-import", "forum:add-people", "forum:archive-course", "forum:open-posting", "ai_answers:refit",
}  # fmt: skip
POST_ONLY_FOR_STAFF = {
    "forum:pin-thread", "forum:lock-thread", "forum:endorse-post", "ai_answers:endorse-answer",
    "ai_answers:publish-answer", "ai_answers:regenerate-answer", "ai_answers:refit",
}  # fmt: skip


def routes(resolver: URLResolver, namespace: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.namespace == "admin":
                continue
            inner = f"{pattern.namespace}:" if pattern.namespace else ""
            yield from routes(pattern, namespace + inner)
        else:
            yield f"{namespace}{pattern.name}", pattern


ROUTES = dict(routes(get_resolver()))


@pytest.fixture(scope="module")
def kept_world(kept: Path) -> tuple[World, Places]:
    """Everybody, and an object for every parameter a route can have; made once, since routes are many."""
    world = factories.make_world()
    return world, make_places(world)


@pytest.fixture
def everything(kept_world: tuple[World, Places], kept: Path, db: None) -> tuple[World, Places]:
    """The same as it was made, whatever the test before did with it."""
    if kept.exists():
        shutil.copytree(kept, default_storage.path(""))
    return copy.deepcopy(kept_world)


@pytest.fixture
def world(everything: tuple[World, Places]) -> World:
    return everything[0]


@pytest.fixture
def places(everything: tuple[World, Places]) -> Places:
    return everything[1]


def make_places(world: World) -> Places:
    sam, tim = world.member("sam"), world.member("tim")
    answer = factories.make_answer(sam, tim)
    post = factories.make_post(sam, answer.thread)
    talk = ai_actions.start_conversation(by=sam, text="When is it evaluated?", form_key=uuid.uuid4())
    preview = ai_actions.start_preview(by=sam, title="When is it evaluated?", body="Once?", form_key=uuid.uuid4())
    preview.messages.filter(speaker="machine").update(state="done")
    version = answer.citations.get(number=1).version
    return {
        "conversation_id": talk.pk,
        "preview_id": preview.pk,
        "message_id": talk.messages.get(speaker="machine").pk,
        "kind": "md",
        "slug": world.course.slug,
        "institution_id": world.institution.pk,
        "uidb36": "no-such-person",
        "provider_id": "no-such-service",
        "organization_slug": "no-such-service",
        "number": answer.thread.number,
        "post_id": post.pk,
        "material_id": version.material_id,
        "upload_id": factories.checked_file(sam).pk,
        "ticket": ticket_for(factories.make_data_export(sam.user)),
        "import_id": factories.make_import(tim, version).pk,
        "person_id": world.user("sam").pk,
        "note_id": actions.add_staff_note(by=tim, thread=answer.thread, body="A note", form_key=uuid.uuid4()).pk,
        "merge_id": actions.merge_threads(
            by=tim, source=factories.make_thread(sam, "Asked once"), target=factories.make_thread(sam, "Asked again")
        ).pk,
        "table": "contributors",
        "key": "no-such-feed",
        "template_id": actions.save_template(
            by=tim, template=None, title="Hello", category="", body="Hello {student}"
        ).pk,
        "assignment_id": actions.save_assignment(
            by=tim, assignment=None, title="Homework 1", due_at=None, embargo_until=None
        ).pk,
        "tag_id": actions.add_tag(by=tim, name="Loops").pk,
        "enrollment_id": Enrollment.objects.get(user=world.user("sam"), course=world.course).pk,
        "roster_id": factories.make_roster_import(world.member("ada")).pk,
        "token": "no-such-invitation",
        "code": account_actions.make_join_code(by=world.member("ada")).code,
        "platform_id": uuid.uuid4(),
        "launch_id": uuid.uuid4(),
        "institution": world.institution.slug,
        "notification_id": uuid.uuid4(),
        "mail_id": uuid.uuid4(),
        "pk": 1,
        "view_id": actions.save_view(by=sam, name="Mine", query="show=mine").pk,
    }


def address(name: str, places: Places) -> str:
    parameters = {key: places[key] for key in get_parameters(name)}
    return reverse(name, kwargs=parameters)


def get_parameters(name: str) -> set[str]:
    """Return every parameter of a route, those of the routes it is included from too."""
    if ":" not in name:
        return set(next(inner for inner, *_ in get_resolver().reverse_dict.getlist(name))[0][1])
    namespace, short = name.split(":")
    prefix, resolver = get_resolver().namespace_dict[namespace]
    parameters = next(inner for inner, *_ in resolver.reverse_dict.getlist(short))[0][1]
    return {*parameters, *(["slug"] if "slug" in str(prefix) else [])}


def without_tokens(response: Any) -> str:
    """Return the page without what is another each time: its request id, and the CSRF token of its sign-out form."""
    page: str = response.content.decode().replace(response["X-Request-ID"], "")
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page)


def test_every_route_states_its_policy() -> None:
    assert set(ROUTES) == set(POLICIES)


IN_COURSE = sorted(name for name, policy in POLICIES.items() if policy in (COURSE, STAFF))


@pytest.mark.parametrize("name", sorted(name for name, policy in POLICIES.items() if policy not in (PUBLIC, GUARDED)))
def test_strangers_are_asked_to_sign_in(name: str, places: Places) -> None:
    url = address(name, places)
    for method in ("get", "post"):
        response = getattr(Client(), method)(url)
        assert response.status_code == 302, (method, response.status_code)
        assert response["Location"].startswith(reverse("accounts:sign-in"))


@pytest.mark.parametrize("persona", ["eve", "pat", "dana"])
@pytest.mark.parametrize("name", IN_COURSE)
def test_outside_the_course_there_is_nothing(name: str, persona: str, places: Places, world: World) -> None:
    client = Client()
    client.force_login(world.user(persona))
    url = address(name, places)
    if persona == "eve" and get_parameters(name) <= {"slug", "table"}:
        # Her own institution has a course with the same slug: she sees hers, and nothing of this one.
        body = client.get(url).content.decode()
        assert "Surname-sam" not in body
        assert "default parameter" not in body
        return
    allowed = {404, 405}  # a page that takes no GET says so to everybody
    assert client.get(url).status_code in allowed
    assert client.post(url).status_code in allowed
    assert 404 in (client.get(url).status_code, client.post(url).status_code)


@pytest.mark.parametrize("name", sorted(name for name, policy in POLICIES.items() if policy == STAFF))
def test_students_cannot_do_what_staff_do(name: str, places: Places, world: World) -> None:
    client = Client()
    client.force_login(world.user("noor"))
    url = address(name, places)
    said = client.post(url)
    # A page that takes no POST says so to everybody.
    assert (client.get(url) if said.status_code == 405 else said).status_code == 403
    response = client.post(address(name, places))
    if response.status_code == 405:
        response = client.get(address(name, places))
    assert response.status_code == 403


@pytest.mark.parametrize("persona", ["sam", "tim", "ada"])
@pytest.mark.parametrize("name", IN_COURSE)
def test_members_reach_their_pages(name: str, persona: str, places: Places, world: World) -> None:
    if POLICIES[name] == STAFF and persona == "sam":
        return
    client = Client()
    client.force_login(world.user(persona))
    url = address(name, places)
    if name == "forum:restore-thread":
        actions.delete_thread(by=world.member("sam"), thread=Thread.objects.get(number=places["number"]))
    if name == "ai_answers:restore-material":
        ai_actions.delete_material(by=world.member("tim"), material=Material.objects.get(pk=places["material_id"]))
    response = client.get(url)
    if response.status_code == 405:
        response = client.post(url, {"body": ""})
    if name in OWN_ONLY and persona != OWN_ONLY[name]:
        assert response.status_code in {403, 404}
        return
    assert response.status_code in {200, 204, 302, 403, 422}
    if response.status_code == 403:
        # One can't vote for oneself, and staff have no questions; nothing has failed or is deleted that could be retried
        # or restored.
        assert name in {
            "forum:vote-post",
            "forum:vote-thread",
            "forum:same-question",
            "ai_answers:retry-answer",
            # The answer isn't a draft; staff endorse or withdraw instead of saying whether it helps.
            "ai_answers:publish-answer",
            "ai_answers:answer-feedback",
            "ai_answers:ask-person",
            "forum:restore-post",
            # One doesn't flag one's own text, and opens to the course what is private.
            "forum:flag-thread",
            "forum:flag-post",
            "forum:open-up",
        } | (INSTRUCTORS_ONLY if persona == "tim" else set())


THREAD_ROUTES = sorted(name for name in IN_COURSE if "number" in str(ROUTES[name].pattern))


@pytest.mark.parametrize("name", THREAD_ROUTES)
@pytest.mark.parametrize("state", ["private", "deleted"])
def test_a_private_or_deleted_thread_is_nothing_to_classmates(
    name: str, state: str, places: Places, world: World
) -> None:
    thread = Thread.objects.get(number=places["number"])
    if state == "private":
        Thread.objects.update(visibility="staff")
    else:
        actions.delete_thread(by=world.member("sam"), thread=thread)
    client = Client()
    client.force_login(world.user("noor"))
    url = address(name, places)
    assert client.get(url).status_code in {404, 405}
    assert client.post(url).status_code in {404, 405}
    missing = address(name, places | {"number": 9999})
    if client.post(url).status_code == 404:
        assert without_tokens(client.post(url)) == without_tokens(client.post(missing))


def test_foreign_and_missing_look_the_same(places: Places, world: World) -> None:
    client = Client()
    client.force_login(world.user("pat"))
    foreign = client.get(address("forum:thread", places))
    missing = client.get(address("forum:thread", places | {"slug": "no-such-course"}))
    assert foreign.status_code == missing.status_code == 404
    assert without_tokens(foreign) == without_tokens(missing)


def test_admin_is_closed_to_students(world: World) -> None:
    client = Client()
    client.force_login(world.user("sam"))
    assert client.get("/admin/forum/thread/", follow=True).status_code == 403
    stranger = Client().get("/admin/forum/thread/", follow=True)
    assert stranger.redirect_chain[-1] == ("/sign-in/?next=/admin/forum/thread/", 302)


def test_a_picture_is_nothing_to_those_who_share_no_course(world: World) -> None:
    client = Client()
    client.force_login(world.user("eve"))
    assert client.get(reverse("accounts:avatar", args=[world.user("sam").pk])).status_code == 404
    assert client.get(reverse("accounts:avatar", args=[uuid.uuid4()])).status_code == 404
