"""Everything kept about a person is said to be theirs; they can have a copy of it."""

import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.core import mail, signing
from django.db import IntegrityError, models
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts import actions, archiving, privacy, tasks
from accounts.access import Refused
from accounts.models import (
    EXPORTS_PER_DAY,
    Consent,
    DataExport,
    Enrollment,
    ExportState,
    Purpose,
    Upload,
    User,
)
from ai_answers import actions as ai_actions
from ai_answers.models import Conversation, Disclosure, Message, ModelCall
from forum import actions as forum_actions
from forum.models import FlagReason, StaffNote, Thread
from quokkaq.lib.storage import store
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db
SignIn = Callable[[User], Client]
OURS = ("accounts", "forum", "ai_answers")


def all_models() -> Iterator[type[models.Model]]:
    """Every table, also those Django makes by itself."""
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy and model._meta.managed:
            yield model


def test_every_column_that_points_at_a_person_is_claimed() -> None:
    claimed = {(part.model._meta.label, owner) for part in privacy.parts() for owner in part.owners}
    claimed |= {(reference.model._meta.label, reference.field) for reference in privacy.references()}
    pointing = {
        (model._meta.label, column.name)
        for model in all_models()
        for column in model._meta.concrete_fields
        if isinstance(column, models.ForeignKey) and column.related_model is User
    }
    assert pointing - claimed == set(), "say in own_data.py whose these are, and what becomes of them"
    assert claimed - pointing == set()


def test_every_table_of_ours_is_somebodys_or_said_not_to_be() -> None:
    """A table without a person's key may hold what they wrote all the same."""
    ours = {
        model._meta.label for model in all_models() if model._meta.app_label in OURS and not model._meta.auto_created
    }
    said = {part.model._meta.label for part in privacy.parts()} | set(privacy.others())
    assert ours - said == set(), "say in own_data.py whose these are, or why they are nobody's"
    assert not {part.model._meta.label for part in privacy.parts()} & set(privacy.others()) - {"forum.Merge"}


def test_what_a_copy_leaves_out_is_a_column_and_has_a_reason() -> None:
    for part in privacy.parts():
        names = {column.name for column in part.model._meta.concrete_fields}
        assert set(part.without) <= names, part.name
        assert all(len(why) > 5 for why in part.without.values()), part.name
        assert set(part.owners) <= names


def build(person: User) -> dict[str, Any]:
    """A person's copy, opened: JSON by name, and the other files as bytes."""
    export = actions.request_export(by=person)
    run_tasks(actions.EXPORT_TASK)
    export.refresh_from_db()
    assert export.state == ExportState.READY
    assert export.upload is not None
    data = b"".join(store().chunks(export.upload.storage_key))
    return opened(data)


def opened(data: bytes) -> dict[str, Any]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return {
        name: json.loads(archive.read(name)) if name.endswith(".json") else archive.read(name)
        for name in archive.namelist()
    }


class Life:
    """sam does one of everything, beside others who do things to what sam wrote."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sam, self.noor, self.tim = world.member("sam"), world.member("noor"), world.member("tim")
        sam, noor, tim = self.sam, self.noor, self.tim
        self.answer = factories.make_answer(sam, tim)
        self.open = factories.make_thread(sam, "Sams open question", "Sams own words")
        forum_actions.edit_thread(
            by=sam, thread=self.open, title="Sams open question", body="Sams second words", tags=[]
        )
        forum_actions.edit_thread(
            by=tim, thread=self.open, title="Sams open question", body="Tims words for sam", tags=[]
        )
        forum_actions.edit_thread(by=sam, thread=self.open, title="Sams open question", body="Sams last words", tags=[])
        self.hidden = factories.make_thread(sam, "Sams hidden question", "Sams hidden words", anonymity="all")
        self.reply = factories.make_post(noor, self.open, "Noors words stay noors")
        self.own_reply = factories.make_post(sam, self.hidden, "Sams reply under a name", anonymity="all")
        forum_actions.set_vote(by=sam, target=self.reply, on=True)
        forum_actions.set_vote(by=noor, target=self.open, on=True)
        other = factories.make_thread(noor, "Noors question")
        forum_actions.set_same_question(by=sam, thread=other, on=True)
        forum_actions.flag_text(by=sam, text=self.reply, reason=FlagReason.RUDE, details="Sams complaint")
        forum_actions.save_draft(by=sam, thread=other, post=None, fields={"body": "Sams half a draft"})
        forum_actions.mark_read(by=sam, thread=other, up_to=other.last_activity_at)
        StaffNote.objects.create(
            institution_id=sam.user.institution_id, thread=self.open, author=tim.user, body="Tims note about sam",
            body_html="", submission_key=uuid.uuid4(),
        )  # fmt: skip
        ai_actions.give_feedback(by=sam, answer=self.answer, helpful=False, comment="Sams judgement")
        ai_actions.set_consent(by=sam.user, is_given=True)
        self.converse()
        self.named_file = self.attach(self.open, "sams-notes.txt", b"Sams attached notes.")
        self.hidden_file = self.attach(self.hidden, "sams-secret.txt", b"Sams hidden notes.")
        run_tasks()

    def converse(self) -> None:
        fields = {"institution_id": self.sam.user.institution_id}
        talk = Conversation.objects.create(user=self.sam.user, course=self.sam.course, title="Sams talk", **fields)
        Message.objects.create(conversation=talk, position=1, speaker="person", body="Sams private question", **fields)
        call = ModelCall.objects.create(user=self.sam.user, engine="openai", outcome="answered", **fields)
        Disclosure.objects.create(
            call=call, user=self.sam.user, provider="openai", model="m", text="Sams sent text", **fields
        )

    def attach(self, thread: Thread, name: str, data: bytes) -> Upload:
        upload = factories.checked_file(self.sam, name, data)
        thread.refresh_from_db()
        forum_actions.edit_thread(
            by=self.sam, thread=thread, title=thread.title, body=thread.body, tags=[], uploads=[upload.pk]
        )
        return upload


def test_a_copy_holds_what_is_mine_and_nothing_of_others(world: World) -> None:
    life = Life(world)
    found = build(life.sam.user)
    text = json.dumps({name: value for name, value in found.items() if name.endswith(".json")}, ensure_ascii=False)
    for mine in (
        "Sams own words", "Sams second words", "Sams last words", "Sams hidden words", "Sams reply under a name",
        "Sams complaint", "Sams half a draft", "Sams judgement", "Sams private question", "Sams sent text", "Sams talk",
        "sam@example.edu", "sams-notes.txt",
    ):  # fmt: skip
        assert mine in text, mine
    for foreign in (
        "Noors words", "Tims words", "Tims note", "Noors question", "noor@example.edu", "tim@example.edu", "Surname-noor",
        "argon2",
    ):  # fmt: skip
        assert foreign not in text, foreign
    files = {name: value for name, value in found.items() if name.startswith("files/")}
    assert sorted(files.values()) == [b"Sams attached notes.", b"Sams hidden notes."]
    assert {part.name + ".json" for part in privacy.parts()} <= set(found)
    assert len(found["votes.json"]) == 1
    assert {row["verb"] for row in found["acts.json"]} >= {"ai_consent.given", "data_export.requested"}
    page = found["index.html"].decode()
    assert "Sams own words" in page
    assert not re.search(r"(?:src|href)=", page), "the page asks for nothing from outside"
    readme = found["README.txt"].decode()
    assert "What is not in here" in readme
    assert "password" in readme


def test_a_copy_holds_what_i_wrote_in_a_course_i_left(world: World) -> None:
    sam = world.member("sam")
    thread = factories.make_thread(sam, "Before I left", "Words of before")
    factories.make_post(world.member("noor"), thread, "Noors answer to it")
    file = factories.checked_file(sam, "old.txt", b"Old notes.")
    forum_actions.edit_thread(by=sam, thread=thread, title=thread.title, body=thread.body, tags=[], uploads=[file.pk])
    Enrollment.objects.filter(user=sam.user).update(status="dropped")
    found = build(sam.user)
    assert [row["body"] for row in found["threads.json"]] == ["Words of before"]
    assert b"Old notes." in found.values()
    assert "Noors answer" not in str(found)


def test_hostile_text_and_names_stay_text(world: World) -> None:
    sam = world.member("sam")
    factories.make_thread(sam, "<script>alert(1)</script>", "</table><img src=x onerror=alert(1)>")
    upload = factories.checked_file(sam, "notes.txt", b"Notes.")
    Upload.objects.filter(pk=upload.pk).update(original_name="../../etc/pass\\wd.txt")
    found = build(sam.user)
    page = found["index.html"].decode()
    assert "<script>alert" not in page
    assert "<img" not in page
    (name,) = (name for name in found if name.startswith("files/"))
    assert name.count("/") == 1
    assert ".." not in name


def test_the_page_shows_progress_then_a_link_and_mails(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    url = reverse("accounts:data")
    assert "Prepare my data" in client.get(url).content.decode()
    assert client.post(url).status_code == 302
    page = client.get(url).content.decode()
    assert "Waiting to begin" in page
    assert 'hx-trigger="every 2s"' in page
    refused = client.post(url)
    assert refused.status_code == 422
    assert "already" in refused.content.decode()
    DataExport.objects.update(state="running", done=3, total=9)
    assert "3 of 9" in client.get(reverse("accounts:data-progress")).content.decode()
    run_tasks()
    page = client.get(url).content.decode()
    assert "Download" in page
    assert "every 2s" not in page
    (message,) = mail.outbox
    assert message.to == ["sam@example.edu"]
    assert url in message.body
    assert "download/" not in message.body, "the mail holds no link to the file itself"
    run_tasks(even_later=True)
    tasks.mail_data_export.func(str(DataExport.objects.get().pk))
    assert len(mail.outbox) == 1, "told once"
    assert "example.edu" not in json.dumps(list(ProcrastinateJob.objects.values_list("args", flat=True)))


def link(client: Client) -> str:
    found = re.search(r'href="(/me/data/download/[^"]+)"', client.get(reverse("accounts:data")).content.decode())
    assert found is not None
    return found[1]


def test_the_link_is_for_one_person_and_ends(world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = signed_in(world.user("sam"))
    build(world.user("sam"))
    url = link(sam)
    response = sam.get(url)
    assert response.status_code == 200
    assert response["Content-Disposition"].startswith("attachment")
    assert opened(b"".join(response))["profile.json"][0]["email"] == "sam@example.edu"
    missing = [signed_in(world.user(who)).get(url) for who in ("eve", "pat", "noor", "tim", "ada")]
    assert {answer.status_code for answer in missing} == {404}
    assert Client().get(url).status_code == 302
    assert sam.get(url[:-3] + "x/").status_code == 404
    other = signing.dumps([str(uuid.uuid4()), str(world.user("sam").pk)], salt="accounts.data_export")
    assert sam.get(reverse("accounts:download-data", args=[other])).status_code == 404
    upload = DataExport.objects.get().upload
    assert upload is not None
    assert sam.get(reverse("accounts:file", args=[upload.pk])).status_code == 404, "there is no link without an end"
    monkeypatch.setattr("accounts.views.privacy.LINK_SECONDS", -1)
    assert sam.get(url).status_code == 302


def test_one_at_a_time_and_a_few_a_day(world: World) -> None:
    sam = world.user("sam")
    for _ in range(EXPORTS_PER_DAY):
        build(sam)
    with pytest.raises(Refused, match="today"):
        actions.request_export(by=sam)
    DataExport.objects.update(created_at=timezone.now() - timedelta(days=2))
    export = actions.request_export(by=sam)
    with pytest.raises(IntegrityError):
        DataExport.objects.create(institution_id=sam.institution_id, user=sam)
    assert export.is_under_way


def test_a_killed_task_heals_and_leaves_one_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sam = world.user("sam")
    export = actions.request_export(by=sam)

    class Killed(BaseException):
        pass

    writing = archiving.write

    def killed(*args: Any) -> Iterator[int]:
        for number, done in enumerate(writing(*args)):
            if number == 5:
                raise Killed
            yield done

    with monkeypatch.context() as patch:
        patch.setattr(archiving, "write", killed)
        with pytest.raises(Killed):
            actions.build_export(export.pk)
    export.refresh_from_db()
    assert (export.state, export.done) == (ExportState.RUNNING, 5)
    assert not Upload.objects.filter(purpose=Purpose.EXPORT).exists()
    actions.build_export(export.pk)
    actions.build_export(export.pk)  # a second worker comes too late
    export.refresh_from_db()
    assert export.state == ExportState.READY
    assert Upload.objects.filter(purpose=Purpose.EXPORT).count() == 1


def test_a_lost_task_is_started_again(world: World) -> None:
    export = actions.request_export(by=world.user("sam"))
    tasks.sweep_privacy.func(0)
    assert ProcrastinateJob.objects.filter(task_name=actions.EXPORT_TASK).count() == 1
    DataExport.objects.update(touched_at=timezone.now() - timedelta(hours=1), state="running")
    tasks.sweep_privacy.func(0)  # it is only waiting
    assert ProcrastinateJob.objects.filter(task_name=actions.EXPORT_TASK).count() == 1
    ProcrastinateJob.objects.all().delete()
    tasks.sweep_privacy.func(0)
    run_tasks(actions.EXPORT_TASK)
    export.refresh_from_db()
    assert export.state == ExportState.READY


def test_a_failure_is_shown_and_can_be_tried_again(
    world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(world.user("sam"))
    export = actions.request_export(by=world.user("sam"))
    monkeypatch.setattr(tasks, "EXPORT_ATTEMPTS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("accounts.archiving.json.dumps", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_tasks(actions.EXPORT_TASK)
    export.refresh_from_db()
    assert (export.state, export.error_code) == (ExportState.FAILED, "ZeroDivisionError")
    assert "couldn’t be put together" in client.get(reverse("accounts:data")).content.decode()
    ProcrastinateJob.objects.all().delete()
    build(world.user("sam"))


def test_a_first_failure_waits_for_the_next_try(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    export = actions.request_export(by=world.user("sam"))
    monkeypatch.setattr("accounts.archiving.json.dumps", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_tasks(actions.EXPORT_TASK)
    export.refresh_from_db()
    assert export.is_under_way
    nobody: Any = None
    tasks.build_data_export.func(nobody, str(uuid.uuid4()))  # gone meanwhile: nothing to do


@pytest.mark.parametrize("when", ["while it is written", "when it is written"])
def test_a_copy_nobody_waits_for_any_more_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    export = actions.request_export(by=world.user("sam"))
    writing = archiving.write

    def written(*args: Any) -> Iterator[int]:
        rows = DataExport.objects.filter(pk=export.pk)
        if when == "while it is written":
            rows.update(state=ExportState.FAILED)
        yield from writing(*args)
        rows.update(state=ExportState.FAILED)

    monkeypatch.setattr(archiving, "write", written)
    actions.build_export(export.pk)
    export.refresh_from_db()
    assert (export.state, export.upload) == (ExportState.FAILED, None)
    assert not Upload.objects.filter(purpose=Purpose.EXPORT).exists()


def test_a_copy_whose_file_is_gone_already_ends_like_the_others(world: World) -> None:
    build(world.user("sam"))
    DataExport.objects.update(upload=None, expires_at=timezone.now() - timedelta(seconds=1))
    tasks.sweep_privacy.func(0)
    assert DataExport.objects.get().state == ExportState.EXPIRED


def test_a_copy_is_gone_after_a_week(world: World, signed_in: SignIn) -> None:
    sam = signed_in(world.user("sam"))
    build(world.user("sam"))
    url, upload = link(sam), DataExport.objects.get().upload
    assert upload is not None
    DataExport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    tasks.sweep_privacy.func(0)
    upload.refresh_from_db()
    assert upload.state == "expired"
    assert DataExport.objects.get().state == ExportState.EXPIRED
    assert sam.get(url).status_code == 404
    assert "week is over" in sam.get(reverse("accounts:data")).content.decode()


def test_a_file_the_store_has_lost_is_named_and_the_rest_is_there(world: World) -> None:
    sam = world.member("sam")
    upload = factories.checked_file(sam, "lost.txt")
    factories.checked_file(sam, "kept.txt", b"Kept notes.")
    store().delete(upload.storage_key)
    found = build(sam.user)
    assert b"Kept notes." in found.values()
    assert "lost.txt" in found["README.txt"].decode()


def test_the_page_shows_the_newest_rows_and_the_json_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archiving, "SHOWN_ROWS", 1)
    for number in range(3):
        factories.make_thread(world.member("sam"), f"Question number {number}")
    found = build(world.user("sam"))
    assert len(found["threads.json"]) == 3
    assert "2 more are in the JSON file" in found["index.html"].decode()


def test_consents_are_kept_row_after_row(world: World, signed_in: SignIn) -> None:
    sam = world.user("sam")
    for given in (True, True, False):
        ai_actions.set_consent(by=sam, is_given=given)
    rows = list(Consent.objects.visible_to(sam).order_by("created_at").values_list("kind", "version", "is_given"))
    assert rows == [("ai", "2026-11", True), ("ai", "2026-11", False)]
    assert "2026-11" in signed_in(sam).get(reverse("accounts:data")).content.decode()
    assert "2026-11" not in signed_in(world.user("noor")).get(reverse("accounts:data")).content.decode()
    assert not Consent.objects.visible_to(world.user("eve")).exists()


def test_the_page_costs_the_same_with_many_copies(
    world: World, signed_in: SignIn, django_assert_max_num_queries: Any
) -> None:
    client = signed_in(world.user("sam"))
    build(world.user("sam"))
    DataExport.objects.update(created_at=timezone.now() - timedelta(days=2))
    build(world.user("sam"))
    with django_assert_max_num_queries(8):
        client.get(reverse("accounts:data"))
