"""Whatever is sent to whatever address, the answer is never a 500."""

import uuid
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts import actions
from accounts.models import Enrollment
from forum.models import Post, Thread
from tests import factories
from tests.factories import World
from tests.quokkaq.test_route_policies import ROUTES, address

FIELDS = (
    "title", "body", "kind", "visibility", "anonymity", "tags", "form_key", "on", "email", "password", "next", "display_name",
    "pronouns", "time_zone", "theme", "text", "format", "preview", "remove", "name", "query", "discard",
    "to", "act", "threads", "assignment", "insert", "templates", "category", "due_at", "embargo_until", "emails", "role",
    "status", "section", "people", "old", "new", "version", "posting_closed_until", "confirm",
    "file", "second", "course_id", "drop_missing", "seen", "skip_problems", "invitation", "resend", "code", "expires_at",
    "max_uses", "switch",
    "iss", "login_hint", "client_id", "lti_message_hint", "state", "id_token", "thread", "course", "make", "code", "term", "again",
    "issuer", "authorization_url", "token_url", "jwks_url", "deployments", "fetch", "apply", "seen", "leave",
)  # fmt: skip
VALUES = {
    "nothing": "",
    "nul": "a\x00b",
    "long": "x" * 60_000,
    "odd letters": "\u202e\u200b\ud83d\ude00 \u202e \ufeff ﷽ \x7f".encode("utf-16", "surrogatepass").decode("utf-16"),
    "sql": "'; DROP TABLE forum_thread; -- \\ %s %(x)s",
    "search syntax": "a & | ! ( ) <-> :* 'b' \\'c",
    "markup": "<script>alert(1)</script>{{ 7|add:1 }}{% load x %}[a](javascript:1)$\\frac{$",
    "number": "-99999999999999999999",
    "deep markdown": "> " * 3000 + "*" * 2000 + "[" * 2000,
}


class Anything(dict[str, Any]):
    """Gives a key of nothing for parameters nobody thought of."""

    def __missing__(self, name: str) -> Any:
        return uuid.uuid4() if name.endswith("_id") else "x"


@pytest.fixture
def places(world: World) -> Anything:
    answer = factories.make_answer(world.member("sam"), world.member("tim"))
    post = factories.make_post(world.member("noor"), answer.thread)
    return Anything({
        "pk": 1, "slug": world.course.slug, "number": answer.thread.number, "post_id": post.pk, "person_id": world.user("sam").pk,
        "note_id": answer.thread.pk, "view_id": answer.thread.pk, "template_id": answer.thread.pk,
        "assignment_id": answer.thread.pk, "tag_id": factories.make_tag(world.course).pk,
        "enrollment_id": Enrollment.objects.get(user=world.user("sam"), course=world.course).pk,
        "institution": world.institution.slug,
        "ticket": "not-a-ticket",
        "upload_id": factories.checked_file(world.member("sam")).pk,
        "material_id": answer.citations.get(number=1).version.material_id,
        "roster_id": factories.make_roster_import(world.member("ada")).pk,
        "token": actions.link_of(factories.make_invitation(world.member("ada"))).split("/")[-2],
        "code": actions.make_join_code(by=world.member("ada")).code,
    })  # fmt: skip


@pytest.mark.drill
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("who", ["sam", "tim"])
def test_no_form_breaks(world: World, places: Anything, who: str, kind: str) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(world.user(who))
    broken = []
    for name in ROUTES:
        url = address(name, places)
        for sent in (
            dict.fromkeys(FIELDS, VALUES[kind]),
            {field: [VALUES[kind], "second"] for field in FIELDS},
            {
                "title": VALUES[kind][:200] or "A title",
                "body": VALUES[kind],
                "kind": "question",
                "visibility": "course",
                "anonymity": "named",
            },
            {
                "files": SimpleUploadedFile("x", VALUES[kind].encode("utf-8", "replace")),
                "file": SimpleUploadedFile("y", b"\xff"),
                "uploads": VALUES[kind][:200],
                "drop": VALUES[kind][:200],
            },
        ):
            if name in ("accounts:sign-out", "account_logout"):
                continue
            response = client.post(url, sent)
            if response.status_code >= 500:
                broken.append((name, response.status_code))
        for query in (
            "?",
            "&".join(
                f"{f}={VALUES[kind][:200]}"
                for f in (
                    "tag",
                    "show",
                    "sort",
                    "kind",
                    "cursor",
                    "v",
                    "start",
                    "end",
                    "page",
                    "next",
                    "q",
                    "role",
                    "in",
                    "who",
                    "need",
                    "shown",
                    "template",
                    "assignment",
                )
            ),
        ):
            response = client.get(f"{url}?{query}", headers={"HX-Request": "true"})
            if response.status_code >= 500 and name not in ("ready", "startup"):
                broken.append((name, response.status_code))
        Thread.objects.filter(deleted_at__isnull=False).update(deleted_at=None, deleted_by=None)
        Post.objects.filter(deleted_at__isnull=False).update(deleted_at=None, deleted_by=None)
    assert broken == []


@pytest.mark.parametrize(
    "title", ["the of and", "😀😀😀😀😀", "' OR 1=1 --", "a\\b 'c' :* <-> & | !", "x" * 200, "٣ ?؟ \u202etxt"]
)
def test_a_question_in_any_letters_gets_its_answer_or_none(world: World, title: str) -> None:
    from ai_answers import actions as ai_actions
    from ai_answers.models import Answer

    factories.make_material(world.member("tim"))
    thread = factories.make_thread(world.member("sam"), title, title)
    ai_actions.generate_answer(Answer.objects.get(thread=thread).pk)
    client = Client()
    client.force_login(world.user("noor"))
    assert client.get(reverse("forum:thread", args=["cs-101", thread.number])).status_code == 200
