"""Files that stand with texts: put there, shown, taken away, and kept from those who don't see the text."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.models import EnrollmentStatus, Upload, User
from forum import actions
from forum.access import Refused
from forum.models import MAX_ATTACHMENTS, Anonymity, Attachment, Draft, Post, Thread, Visibility
from quokkaq.lib.inspecting import Rejection
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
ASK = "/c/cs-101/ask/"


def fields(**changes: object) -> dict[str, object]:
    return {
        "title": "Why does it crash?", "body": "See the picture.", "kind": "question", "visibility": "course",
        "anonymity": "named", "form_key": str(uuid.uuid4()), "with_files": "1",
    } | changes  # fmt: skip


def file(name: str = "notes.txt", data: bytes = b"Some notes.") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def attached(thread: Thread | None = None, post: Post | None = None) -> list[str]:
    rows = Attachment.objects.filter(thread=thread) if thread else Attachment.objects.filter(post=post)
    return [row.upload.original_name for row in rows.select_related("upload")]


def with_file(by: Member, upload: Upload | None = None, **options: Any) -> tuple[Thread, Upload]:
    upload = upload or factories.checked_file(by)
    thread = factories.make_thread(by, **options)
    actions.edit_thread(by=by, thread=thread, title=thread.title, body=thread.body, tags=[], uploads=[upload.pk])
    return thread, upload


# Putting them there, without script


def test_a_question_with_files_is_posted_and_others_open_them(world: World, signed_in: SignIn) -> None:
    sam, noor = signed_in(world.user("sam")), signed_in(world.user("noor"))
    page = sam.get(ASK).content.decode()
    assert 'enctype="multipart/form-data"' in page
    assert 'name="files"' in page
    response = sam.post(ASK, fields(files=[file(), file("shot.png", factories.picture())]))
    thread = Thread.objects.get()
    assert response["Location"] == reverse("forum:thread", args=["cs-101", thread.number])
    shown = noor.get(response["Location"]).content.decode()
    assert shown.count("being checked") == 2
    text, shot = Upload.objects.order_by("created_at")
    assert noor.get(f"/files/{text.pk}/").status_code == 404
    run_tasks()
    shown = noor.get(response["Location"]).content.decode()
    assert "being checked" not in shown
    assert f'<img src="/files/{shot.pk}/" alt="shot.png" width="300" height="200"' in shown
    assert "notes.txt" in shown
    answer = noor.get(f"/files/{text.pk}/")
    assert answer["Content-Disposition"] == 'attachment; filename="notes.txt"'
    assert b"".join(answer.streaming_content) == b"Some notes."  # type: ignore[attr-defined]  # a FileResponse
    assert noor.get(f"/files/{shot.pk}/")["Content-Disposition"] == 'inline; filename="shot.png"'
    assert noor.get(f"/files/{shot.pk}/?download")["Content-Disposition"].startswith("attachment")


def test_replies_and_comments_take_files(world: World, signed_in: SignIn, sam: Member) -> None:
    thread = factories.make_thread(sam)
    client = signed_in(world.user("noor"))
    reply = reverse("forum:reply", args=["cs-101", thread.number])
    client.post(reply, {"body": "Here.", "anonymity": "named", "files": file("a.txt")})
    post = Post.objects.get()
    assert attached(post=post) == ["a.txt"]
    comment = reverse("forum:comment", args=["cs-101", thread.number, post.pk])
    client.post(comment, {"body": "And here.", "anonymity": "named", "files": file("b.txt")})
    assert attached(post=Post.objects.exclude(pk=post.pk).get()) == ["b.txt"]
    run_tasks()
    page = client.get(reverse("forum:thread", args=["cs-101", thread.number])).content.decode()
    assert page.count('class="attachment clean"') == 2


@pytest.mark.parametrize("where", ["ask", "reply", "comment", "edit"])
def test_a_refused_form_keeps_its_files(world: World, signed_in: SignIn, sam: Member, where: str) -> None:
    client = signed_in(world.user("sam"))
    if where == "ask":
        url, bad = ASK, fields(title="")
    else:
        thread = factories.make_thread(sam)
        post = factories.make_post(sam, thread)
        url = {
            "reply": reverse("forum:reply", args=["cs-101", thread.number]),
            "comment": reverse("forum:comment", args=["cs-101", thread.number, post.pk]),
            "edit": reverse("forum:edit-thread", args=["cs-101", thread.number]),
        }[where]
        bad = {"body": "", "title": "A title", "with_files": "1", "anonymity": "named"}
    response = client.post(url, bad | {"files": [file("good.txt"), file("bad.exe")]})
    page = response.content.decode()
    assert response.status_code == 422
    upload = Upload.objects.get()
    assert page.count(f'name="uploads" value="{upload.pk}"') == 1
    assert "good.txt" in page
    assert "“bad.exe”: We don’t take files of this type." in page
    again = fields() if where == "ask" else bad | {"body": "Now with a text."}
    assert client.post(url, again | {"uploads": str(upload.pk)}).status_code == 302
    assert Attachment.objects.get().upload == upload


def test_preview_and_the_warning_of_a_duplicate_keep_files(world: World, signed_in: SignIn, sam: Member) -> None:
    title = "When is a default parameter value evaluated?"
    factories.make_thread(sam, title)
    client = signed_in(world.user("noor"))
    page = client.post(ASK, fields(files=file(), preview="1")).content.decode()
    upload = Upload.objects.get()
    assert f'value="{upload.pk}"' in page
    page = client.post(ASK, fields(title=title, uploads=str(upload.pk))).content.decode()
    assert "Post anyway" in page
    assert f'value="{upload.pk}"' in page


def test_a_file_can_be_dropped_before_posting(world: World, signed_in: SignIn, sam: Member) -> None:
    keep, drop = factories.checked_file(sam, "keep.txt"), factories.checked_file(sam, "drop.txt")
    keys = [str(keep.pk), str(drop.pk)]
    signed_in(world.user("sam")).post(ASK, fields(uploads=keys, drop=str(drop.pk)))
    assert attached(Thread.objects.get()) == ["keep.txt"]


def test_a_draft_keeps_files(world: World, signed_in: SignIn, sam: Member) -> None:
    upload = factories.checked_file(sam)
    client = signed_in(world.user("sam"))
    client.post(reverse("forum:draft-thread", args=["cs-101"]), fields(uploads=str(upload.pk)))
    assert Draft.objects.get().fields["uploads"] == [str(upload.pk)]
    assert f'value="{upload.pk}"' in client.get(ASK).content.decode()


def test_the_same_form_sent_twice_is_one_thread_with_its_files(world: World, signed_in: SignIn) -> None:
    client, sent = signed_in(world.user("sam")), fields()
    for _ in range(2):
        client.post(ASK, sent | {"files": file()})
    assert attached(Thread.objects.get()) == ["notes.txt"]


# Editing


def test_an_edit_adds_and_removes_files(world: World, signed_in: SignIn, sam: Member) -> None:
    thread, first = with_file(sam)
    client = signed_in(world.user("sam"))
    url = reverse("forum:edit-thread", args=["cs-101", thread.number])
    assert f'value="{first.pk}"' in client.get(url).content.decode()
    text = {"title": thread.title, "body": thread.body, "with_files": "1"}
    client.post(url, text | {"uploads": str(first.pk), "files": file("new.txt")})
    assert attached(thread) == ["notes.txt", "new.txt"]
    # A form that knew nothing of files leaves them alone.
    client.post(url, {"title": thread.title, "body": thread.body})
    assert attached(thread) == ["notes.txt", "new.txt"]
    client.post(url, text | {"uploads": str(first.pk), "drop": str(first.pk)})
    assert attached(thread) == []
    first.refresh_from_db()
    assert first.attached_at is None
    post = factories.make_post(sam, thread)
    url = reverse("forum:edit-post", args=["cs-101", thread.number, post.pk])
    client.post(url, {"body": post.body, "with_files": "1", "files": file("in the reply.txt")})
    assert attached(post=post) == ["in the reply.txt"]


def test_staff_who_edit_leave_the_files_of_the_author(world: World, signed_in: SignIn, sam: Member) -> None:
    thread, upload = with_file(sam)
    url = reverse("forum:edit-thread", args=["cs-101", thread.number])
    client = signed_in(world.user("ada"))
    assert f'value="{upload.pk}"' in client.get(url).content.decode()
    client.post(url, {"title": "Better title", "body": thread.body, "with_files": "1", "uploads": str(upload.pk)})
    assert attached(thread) == ["notes.txt"]


def test_files_of_others_and_too_many_are_refused(world: World, sam: Member, noor: Member) -> None:
    foreign = factories.checked_file(noor)
    thread = factories.make_thread(sam)
    for uploads in ([foreign.pk], [uuid.uuid4()], [factories.sent_file(sam).pk for _ in range(MAX_ATTACHMENTS + 1)]):
        with pytest.raises(Refused):
            actions.edit_thread(by=sam, thread=thread, title=thread.title, body="New", tags=[], uploads=uploads)
    thread.refresh_from_db()
    assert thread.body != "New"
    assert not Attachment.objects.exists()


# Who sees them


def get(client: Client, upload: Upload) -> int:
    return client.get(f"/files/{upload.pk}/").status_code


def test_outside_the_course_there_is_no_file(world: World, signed_in: SignIn, sam: Member) -> None:
    _, upload = with_file(sam)
    assert Client().get(f"/files/{upload.pk}/").status_code == 302
    for name, status in (("noor", 200), ("tim", 200), ("sam", 200), ("eve", 404), ("pat", 404), ("dana", 404)):
        assert get(signed_in(world.user(name)), upload) == status
    client = signed_in(world.user("noor"))
    assert get(client, upload) == 200
    world.user("noor").enrollments.update(status=EnrollmentStatus.DROPPED)
    assert get(client, upload) == 404


def test_files_of_private_hidden_and_deleted_texts_go_with_them(world: World, signed_in: SignIn, sam: Member) -> None:
    noor, tim = signed_in(world.user("noor")), signed_in(world.user("tim"))
    _, private = with_file(sam, visibility=Visibility.STAFF)
    assert (get(noor, private), get(tim, private)) == (404, 200)
    thread, upload = with_file(sam)
    actions.hide_text(by=world.member("tim"), text=thread, reason="Rude")
    assert (get(noor, upload), get(tim, upload), get(signed_in(sam.user), upload)) == (404, 200, 200)
    gone, lost = with_file(sam)
    actions.delete_thread(by=sam, thread=gone)
    assert (get(noor, lost), get(tim, lost)) == (404, 404)
    open_thread = factories.make_thread(sam)
    inside = factories.checked_file(sam)
    post = factories.make_post(sam, open_thread, uploads=[inside.pk])
    assert get(noor, inside) == 200
    actions.delete_post(by=sam, post=post)
    assert get(noor, inside) == 404
    actions.restore_post(by=sam, post=post)
    assert get(noor, inside) == 200


def test_a_refused_file_is_its_authors_matter(world: World, signed_in: SignIn, sam: Member) -> None:
    upload = factories.sent_file(sam, "a.pdf", b"not a PDF")
    thread, _ = with_file(sam, upload)
    run_tasks()
    upload.refresh_from_db()
    assert upload.rejection == Rejection.MISMATCH
    url = reverse("forum:thread", args=["cs-101", thread.number])
    assert "isn’t what its name says" in signed_in(world.user("sam")).get(url).content.decode()
    for name in ("noor", "tim"):
        assert "a.pdf" not in signed_in(world.user(name)).get(url).content.decode()


# Anonymity


def test_who_hides_attaches_nothing_that_names_them(world: World, signed_in: SignIn, sam: Member) -> None:
    client = signed_in(world.user("sam"))
    pdf = factories.sent_file(sam, "essay by Sam.pdf", b"%PDF-1.4")
    hidden = fields(anonymity="all", uploads=str(pdf.pk))
    page = client.post(ASK, hidden)
    assert page.status_code == 409
    assert "may carry your name inside" in page.content.decode()
    assert f'value="{pdf.pk}"' in page.content.decode()
    exif = factories.picture("JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00Sam Surname")
    client.post(ASK, fields(anonymity="all", files=[file("Sam Surname.jpg", exif), file("by Sam.txt")]))
    thread = Thread.objects.get()
    run_tasks()
    url = reverse("forum:thread", args=["cs-101", thread.number])
    for name in ("noor", "ada"):
        reader = signed_in(world.user(name))
        page_text = reader.get(url).content.decode()
        assert "attachment-1.jpg" in page_text
        assert "attachment-2.txt" in page_text
        assert "Surname.jpg" not in page_text
        for upload in Upload.objects.exclude(attached_at=None):
            response = reader.get(f"/files/{upload.pk}/")
            assert "Sam" not in response["Content-Disposition"]
            assert b"Surname" not in b"".join(response.streaming_content)  # type: ignore[attr-defined]  # a FileResponse
    assert thread.anonymity == Anonymity.ALL
    edit = (
        signed_in(world.user("ada")).get(reverse("forum:edit-thread", args=["cs-101", thread.number])).content.decode()
    )
    assert "attachment-1.jpg" in edit
    assert "Sam" not in edit
    assert "Sam Surname.jpg" in client.get(f"{url}edit/").content.decode()


# What it costs


def test_a_thread_page_costs_the_same_with_one_file_and_with_many(world: World, signed_in: SignIn, sam: Member) -> None:
    one, _ = with_file(sam)
    many = factories.make_thread(sam)
    for _ in range(6):
        keys = [factories.checked_file(sam).pk for _ in range(3)]
        factories.make_post(sam, many, uploads=keys)
    factories.make_post(sam, one)
    client = signed_in(world.user("noor"))
    counts = []
    for thread in (one, many):
        url = reverse("forum:thread", args=["cs-101", thread.number])
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        counts.append(len(queries))
    assert counts[0] == counts[1]
