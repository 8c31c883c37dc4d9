"""Files on their way in: who may send what, what becomes of it, and what is put right when something is cut off."""

import hashlib
import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.http import Http404
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts import access, actions, tasks, uploading
from accounts.access import Member, Refused
from accounts.actions import checking, uploads
from accounts.models import EnrollmentStatus, PostingPolicy, Purpose, Upload, UploadState, User
from quokkaq.lib.inspecting import Findings, RefusedFile, Rejection, inspect
from quokkaq.lib.scanner import ScannerDown
from quokkaq.lib.storage import StoreError, store
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
Commits = Callable[..., Any]


def announce(client: Client, **changes: object) -> Any:
    fields = {"purpose": "attachment", "course": "cs-101", "name": "notes.txt", "size": "5"} | changes
    return client.post("/uploads/", fields)


# The whole way


def test_a_browser_announces_sends_and_confirms_a_file(
    world: World, signed_in: SignIn, django_capture_on_commit_callbacks: Commits
) -> None:
    client = signed_in(world.user("sam"))
    told = announce(client).json()
    upload = Upload.objects.get()
    assert (upload.state, upload.size, upload.content_type) == (UploadState.PENDING, 5, "text/plain")
    assert told["url"] == f"/uploads/{upload.pk}/content/"
    assert client.post(told["confirm"]).json()["problem"] == "The file hasn’t arrived. Send it again."
    assert client.post(told["url"], {"file": SimpleUploadedFile("x", b"Hello")}).status_code == 201
    line = client.post(told["confirm"]).content.decode()
    assert "Being checked" in line
    assert f'name="uploads" value="{upload.pk}"' in line
    assert client.get(f"/files/{upload.pk}/").status_code == 404
    with django_capture_on_commit_callbacks(execute=True):
        run_tasks("accounts.check_upload")
    upload.refresh_from_db()
    assert (upload.state, upload.storage_key) == (UploadState.CLEAN, f"files/{upload.pk}")
    assert upload.sha256 == hashlib.sha256(b"Hello").hexdigest()
    assert store().head(f"quarantine/{upload.pk}") is None
    assert "5\xa0bytes" in client.get(f"/uploads/{upload.pk}/").content.decode()
    response = client.get(f"/files/{upload.pk}/")
    assert b"".join(response.streaming_content) == b"Hello"  # type: ignore[attr-defined]  # a FileResponse
    assert response["Content-Disposition"] == 'attachment; filename="notes.txt"'
    assert response["X-Content-Type-Options"] == "nosniff"
    for _ in range(2):
        assert client.post(told["discard"]).status_code == 204
    assert client.get(f"/files/{upload.pk}/").status_code == 404


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"size": "0"}, "is empty"),
        ({"size": "many"}, "can’t be sent like that"),
        ({"purpose": "throne"}, "can’t be sent like that"),
        ({"size": str(20 * 1024**2 + 1)}, "is larger than 20 MB"),
        ({"name": "virus.exe"}, "don’t take files of this type"),
        ({"name": "drawing.svg"}, "don’t take files of this type"),
        ({"name": "page.html"}, "don’t take files of this type"),
        ({"name": "notes.txt.exe"}, "don’t take files of this type"),
        ({"name": "gpj.\u202etxt"}, "that hide what it is"),
        ({"name": ""}, "that hide what it is"),
    ],
)
def test_what_is_not_taken_says_why(world: World, signed_in: SignIn, changes: dict[str, object], sentence: str) -> None:
    response = announce(signed_in(world.user("sam")), **changes)
    assert response.status_code == 422
    assert sentence in response.json()["problem"]
    assert not Upload.objects.exists()


def test_a_long_name_is_cut_and_a_path_is_no_name(sam: Member) -> None:
    def start(name: str) -> str:
        return actions.start_upload(
            by=sam.user, purpose=Purpose.ATTACHMENT, name=name, size=1, member=sam
        ).upload.original_name

    assert start(f"{'x' * 230}.txt") == "x" * 195 + ".txt"
    for name in ("C:\\Sam\\notes.txt", "../notes.txt"):
        with pytest.raises(RefusedFile):
            start(name)


# Who may


def test_who_may_send_what_where(world: World, signed_in: SignIn) -> None:
    for name in ("pat", "dana"):
        assert announce(signed_in(world.user(name))).status_code == 404
    # Her own institution has a course of that name.
    assert announce(signed_in(world.user("eve"))).status_code == 201
    assert Upload.objects.get().course == world.foreign_course
    assert announce(signed_in(world.user("eve")), course=world.other_course.slug).status_code == 404
    assert announce(signed_in(world.user("sam")), course="").status_code == 403
    assert announce(signed_in(world.user("sam")), course="cs\x00").status_code == 404
    assert announce(signed_in(world.user("sam")), purpose="material", name="a.pdf").status_code == 403
    assert announce(signed_in(world.user("sam")), purpose="export").status_code == 403
    assert announce(signed_in(world.user("tim")), purpose="material", name="a.pdf").status_code == 201
    world.course.posting_policy = PostingPolicy.READ_ONLY
    world.course.save()
    assert "Only staff post" in announce(signed_in(world.user("sam"))).json()["problem"]
    factories.archive(world.course)
    assert announce(signed_in(world.user("tim"))).status_code == 403


def test_a_file_is_its_owners_alone(world: World, signed_in: SignIn, sam: Member) -> None:
    waiting = factories.sent_file(sam)
    clean = factories.checked_file(sam)
    for name in ("noor", "tim", "ada", "eve", "pat", "dana"):
        client = signed_in(world.user(name))
        for upload in (waiting, clean):
            assert client.get(f"/uploads/{upload.pk}/").status_code == 404
            assert client.get(f"/files/{upload.pk}/").status_code == 404
            for act in ("content", "confirm", "discard"):
                assert client.post(f"/uploads/{upload.pk}/{act}/").status_code == 404
        with pytest.raises(Refused, match="isn’t there any more"), transaction.atomic():
            actions.attach_uploads(
                by=Member(world.user(name), world.course, sam.role), uploads=[clean.pk], purpose=Purpose.ATTACHMENT
            )
    assert Upload.objects.filter(pk=clean.pk, attached_at=None).exists()


def test_who_left_the_course_neither_confirms_nor_reads(world: World, signed_in: SignIn, sam: Member) -> None:
    clean = factories.checked_file(sam)
    client = signed_in(world.user("sam"))
    told = announce(client).json()
    world.user("sam").enrollments.update(status=EnrollmentStatus.DROPPED)
    assert client.post(told["url"], {"file": SimpleUploadedFile("x", b"Hello")}).status_code == 404
    assert client.post(told["confirm"]).status_code == 404
    assert client.get(f"/files/{clean.pk}/").status_code == 404


# Tampering


def test_what_arrives_must_be_what_was_announced(world: World, signed_in: SignIn, sam: Member) -> None:
    client = signed_in(world.user("sam"))
    told = announce(client).json()
    assert client.post(told["url"], {"file": SimpleUploadedFile("x", b"Hello!")}).status_code == 422
    for size, content_type, owner in (
        (6, "text/plain", sam.user.pk), (5, "text/html", sam.user.pk), (5, "text/plain", world.user("noor").pk),
    ):  # fmt: skip
        upload = actions.start_upload(by=sam.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=5, member=sam).upload
        store().put(f"quarantine/{upload.pk}", io.BytesIO(b"x" * size), content_type=content_type, owner=str(owner))
        assert actions.confirm_upload(by=sam.user, upload=upload).state == UploadState.REJECTED
        with pytest.raises(Refused, match="isn’t expected"):
            actions.receive_upload(by=sam.user, upload=Upload.objects.get(pk=upload.pk), file=io.BytesIO(b"Hello"))
    assert not ProcrastinateJob.objects.filter(task_name="accounts.check_upload").exists()


def test_a_file_written_over_after_it_arrived_is_not_the_one_released(sam: Member, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam, data=b"Hello")
    key = f"quarantine/{upload.pk}"

    def swap(*args: object, **kwargs: object) -> object:
        store().put(key, io.BytesIO(b"Other"), content_type="text/plain", owner=str(sam.user.pk))
        return inspected(*args, **kwargs)

    inspected: Any = inspect
    monkeypatch.setattr(checking, "inspect", swap)
    with pytest.raises(StoreError):
        actions.check_upload(upload.pk)
    assert store().head(f"files/{upload.pk}") is None
    store().put(key, io.BytesIO(b"Longer than announced"), content_type="text/plain", owner=str(sam.user.pk))
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.rejection) == (UploadState.REJECTED, Rejection.INCOMPLETE)


def test_what_is_written_after_the_release_is_swept_away(sam: Member) -> None:
    upload = factories.checked_file(sam, data=b"Hello")
    key = f"quarantine/{upload.pk}"
    store().put(key, io.BytesIO(b"Evil!"), content_type="text/plain", owner=str(sam.user.pk))
    actions.check_upload(upload.pk)
    assert actions.confirm_upload(by=sam.user, upload=upload).state == UploadState.CLEAN
    assert b"".join(store().chunks(f"files/{upload.pk}")) == b"Hello"
    checking._sweep_store("quarantine/", timezone.now() + timedelta(seconds=1))
    assert store().head(key) is None
    assert store().head(f"files/{upload.pk}") is not None


# Quotas


def test_a_person_and_a_course_have_so_much_room(sam: Member, noor: Member, settings: Any) -> None:
    factories.sent_file(sam, data=b"x" * 60)
    settings.UPLOAD_QUOTA_PERSON = 100
    with pytest.raises(Refused, match="Your files take up all of your 100"):
        factories.sent_file(sam, data=b"x" * 41)
    factories.sent_file(sam, data=b"x" * 40)
    settings.UPLOAD_QUOTA_COURSE = 150
    with pytest.raises(Refused, match="The files of this course take up all of its 150"):
        factories.sent_file(noor, data=b"x" * 51)
    factories.sent_file(noor, data=b"x" * 50)


def test_so_many_files_may_be_under_way(sam: Member, monkeypatch: Any) -> None:
    monkeypatch.setattr(uploads, "MAX_UNDER_WAY", 2)
    for _ in range(2):
        actions.start_upload(by=sam.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=1, member=sam)
    with pytest.raises(Refused, match="2 of your files are on their way"):
        actions.start_upload(by=sam.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=1, member=sam)


# Checking


def test_a_refused_file_is_deleted_and_its_owner_reads_why(
    sam: Member, signed_in: SignIn, django_capture_on_commit_callbacks: Commits
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        upload = factories.checked_file(sam, "a.pdf", b"<html><script>alert(1)</script>")
    assert (upload.state, upload.rejection) == (UploadState.REJECTED, Rejection.MISMATCH)
    assert store().head(f"quarantine/{upload.pk}") is None
    line = signed_in(sam.user).get(f"/uploads/{upload.pk}/").content.decode()
    assert "The content of this file isn’t what its name says." in line
    assert 'name="uploads"' not in line


def test_nothing_is_released_without_the_scanner(sam: Member, settings: Any, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam)
    settings.SCAN_UPLOADS = True
    for url in ("", "tcp://127.0.0.1:1"):
        settings.CLAMD_URL = url
        with pytest.raises(ScannerDown):
            run_check(upload, attempts=9)
        upload.refresh_from_db()
        assert upload.state == UploadState.SCANNING
    monkeypatch.setattr(checking, "scan", lambda chunks: b"".join(chunks) and "Eicar-Test")
    run_check(upload)
    upload.refresh_from_db()
    assert (upload.state, upload.rejection) == (UploadState.REJECTED, Rejection.INFECTED)


def test_a_file_that_breaks_the_check_every_time_is_refused(sam: Member, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam)

    def broken(*args: object, **kwargs: object) -> object:
        raise RuntimeError

    monkeypatch.setattr(checking, "inspect", broken)
    for attempts in range(tasks.CHECK_ATTEMPTS):
        upload.refresh_from_db()
        assert upload.is_under_way
        with pytest.raises(RuntimeError):
            run_check(upload, attempts=attempts)
    upload.refresh_from_db()
    assert (upload.state, upload.rejection) == (UploadState.REJECTED, Rejection.DAMAGED)
    actions.reject_upload(upload.pk, Rejection.INFECTED)
    upload.refresh_from_db()
    assert upload.rejection == Rejection.DAMAGED


def test_a_file_given_up_while_it_was_looked_into_is_not_released(sam: Member, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam)
    inspected: Any = inspect

    def give_up(*args: object, **kwargs: object) -> object:
        actions.discard_upload(by=sam.user, upload=upload)
        return inspected(*args, **kwargs)

    monkeypatch.setattr(checking, "inspect", give_up)
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.storage_key) == (UploadState.EXPIRED, "")
    actions.check_upload(uuid.uuid4())


@pytest.mark.parametrize("shorter", [0, 1])
def test_bytes_that_are_missing_are_noticed(sam: Member, monkeypatch: Any, shorter: int) -> None:
    upload = factories.sent_file(sam, data=b"Hello")
    monkeypatch.setattr(type(store()), "chunks", lambda self, key, version="": iter([b"Hello"[: 5 - shorter]]))
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    assert upload.state == (UploadState.REJECTED if shorter else UploadState.CLEAN)


def test_what_was_looked_into_must_be_what_was_scanned(sam: Member, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam)
    monkeypatch.setattr(checking, "inspect", lambda path, *, claimed: Findings(claimed, "0" * 64, 11))
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.rejection) == (UploadState.REJECTED, Rejection.INCOMPLETE)


def test_a_picture_nobody_chose_or_of_nobody_is_shown_nowhere(
    world: World, signed_in: SignIn, sam: Member, noor: Member
) -> None:
    picture = factories.checked_file(sam, "me.png", factories.picture(), Purpose.AVATAR)
    sam.user.refresh_from_db()
    assert sam.user.avatar == ""
    assert signed_in(sam.user).get(f"/files/{picture.pk}/").status_code == 200
    assert signed_in(noor.user).get(f"/files/{picture.pk}/").status_code == 404
    orphan = factories.sent_file(noor, "me.png", factories.picture(), Purpose.AVATAR)
    actions.choose_avatar(by=noor.user, upload=orphan.pk)
    Upload.objects.filter(pk=orphan.pk).update(owner=None)
    actions.check_upload(orphan.pk)
    noor.user.refresh_from_db()
    assert noor.user.avatar == ""


def run_check(upload: Upload, attempts: int = 0) -> None:
    context: Any = SimpleNamespace(job=SimpleNamespace(attempts=attempts))
    tasks.check_upload.func(context, upload_id=str(upload.pk))


# Putting right


def age(upload: Upload, **ages: timedelta) -> None:
    Upload.objects.filter(pk=upload.pk).update(**{name: timezone.now() - by for name, by in ages.items()})


def test_what_was_cut_off_is_put_right(sam: Member, django_capture_on_commit_callbacks: Commits) -> None:
    never_sent = actions.start_upload(by=sam.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=5, member=sam).upload
    lost = factories.sent_file(sam)
    queued = factories.sent_file(sam)
    unwanted, recent, attached = (factories.checked_file(sam) for _ in range(3))
    refused = factories.checked_file(sam, "a.pdf", b"no")
    with transaction.atomic():
        actions.attach_uploads(by=sam, uploads=[attached.pk], purpose=Purpose.ATTACHMENT)
    ProcrastinateJob.objects.filter(args__upload_id=str(lost.pk)).delete()
    age(never_sent, created_at=timedelta(hours=2))
    for upload in (lost, queued):
        age(upload, state_at=timedelta(hours=1))
    for upload in (unwanted, attached):
        age(upload, state_at=timedelta(days=8))
    age(refused, state_at=timedelta(days=31))
    with django_capture_on_commit_callbacks(execute=True):
        tasks.sweep_uploads.func(0)
    states = dict(Upload.objects.values_list("pk", "state"))
    assert states == {
        never_sent.pk: "expired", lost.pk: "uploaded", queued.pk: "uploaded", unwanted.pk: "expired",
        recent.pk: "clean", attached.pk: "clean",
    }  # fmt: skip
    jobs = ProcrastinateJob.objects.filter(task_name="accounts.check_upload", status="todo")
    assert jobs.filter(args__upload_id=str(lost.pk)).count() == 1
    assert jobs.filter(args__upload_id=str(queued.pk)).count() == 1
    assert store().head(f"files/{unwanted.pk}") is None
    assert store().head(f"files/{attached.pk}") is not None


def test_files_without_rows_are_swept_away(sam: Member, monkeypatch: Any) -> None:
    clean, waiting = factories.checked_file(sam), factories.sent_file(sam)
    for key in (f"files/{uuid.uuid4()}", f"quarantine/{uuid.uuid4()}", "files/stray", f"files/{waiting.pk}"):
        store().put(key, io.BytesIO(b"x"), content_type="text/plain", owner="")
    later = timezone.now() + timedelta(seconds=1)
    monkeypatch.setattr(checking, "_BATCH", 2)
    for prefix in ("files/", "quarantine/"):
        checking._sweep_store(prefix, later)
    assert list(store().listing("files/", older_than=later)) == [clean.storage_key]
    assert sorted(store().listing("quarantine/", older_than=later)) == sorted(
        f"quarantine/{key}" for key in (waiting.pk,)
    ) or store().head(f"quarantine/{waiting.pk}")


def test_a_ticket_ends(sam: Member) -> None:
    upload = actions.start_upload(by=sam.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=5, member=sam).upload
    age(upload, created_at=timedelta(hours=1))
    upload.refresh_from_db()
    with pytest.raises(Refused, match="took too long"):
        actions.receive_upload(by=sam.user, upload=upload, file=io.BytesIO(b"Hello"))


# Attaching


def test_a_file_is_attached_once_and_only_while_it_is_there(sam: Member) -> None:
    refused, pending = factories.checked_file(sam, "a.pdf", b"no"), factories.sent_file(sam)
    Upload.objects.filter(pk=pending.pk).update(state=UploadState.PENDING)
    for upload, sentence in ((refused, "can’t be attached"), (pending, "isn’t there any more")):
        with pytest.raises(Refused, match=sentence), transaction.atomic():
            actions.attach_uploads(by=sam, uploads=[upload.pk], purpose=Purpose.ATTACHMENT)
    one, two = factories.sent_file(sam), factories.checked_file(sam)
    with transaction.atomic():
        got = actions.attach_uploads(by=sam, uploads=[two.pk, one.pk, two.pk], purpose=Purpose.ATTACHMENT)
    assert [upload.pk for upload in got] == [two.pk, one.pk]
    with pytest.raises(Refused), transaction.atomic():
        actions.attach_uploads(by=sam, uploads=[one.pk], purpose=Purpose.ATTACHMENT)
    actions.discard_upload(by=sam.user, upload=one)
    one.refresh_from_db()
    assert one.state == UploadState.UPLOADED
    assert actions.attach_uploads(by=sam, uploads=[], purpose=Purpose.ATTACHMENT) == []


def test_the_store_being_away_is_said_and_loses_nothing(
    world: World, signed_in: SignIn, sam: Member, monkeypatch: Any
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise StoreError

    monkeypatch.setattr(type(store()), "put", away)
    client = signed_in(sam.user)
    told = announce(client).json()
    response = client.post(told["url"], {"file": SimpleUploadedFile("x", b"Hello")})
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert response.json()["problem"] == uploading.STORE_AWAY
    page = client.post(
        "/c/cs-101/ask/", {"title": "A long title", "body": "My text", "files": SimpleUploadedFile("a.txt", b"x")}
    )
    assert page.status_code == 422
    assert "Files can’t be stored now." in page.content.decode()
    assert "My text" in page.content.decode()


def test_the_database_refuses_files_that_make_no_sense(sam: Member) -> None:
    clean = factories.checked_file(sam)
    for changes in (
        {"state": "lost"}, {"purpose": "none"}, {"storage_key": ""}, {"sha256": ""}, {"state": "pending"},
        {"state": "rejected", "storage_key": ""}, {"rejection": "virus"}, {"course": None},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            Upload.objects.filter(pk=clean.pk).update(**changes)
    assert str(clean)


def test_a_body_beyond_every_limit_is_not_read(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    answer = client.post("/c/cs-101/ask/", {"title": "x"}, CONTENT_LENGTH=str(200 * 1024**2))
    assert answer.status_code == 413
    assert "your text is still in the form" in answer.content.decode()
    assert client.post("/c/cs-101/ask/", {"title": "x"}, CONTENT_LENGTH="many").status_code == 400


def test_what_nobody_holds_is_nothing(sam: Member) -> None:
    with pytest.raises(Http404):
        access.get_file(sam.user, uuid.uuid4())
    with pytest.raises(PermissionDenied):
        access.require_uploader(sam.user, Purpose.EXPORT, sam)
    with pytest.raises(RefusedFile):
        actions.start_upload(by=sam.user, purpose=Purpose.AVATAR, name="a.gif", size=1)
