"""Files in a bucket that enforces what S3 enforces: the whole way, and every way to cheat on it."""

import base64
import hashlib
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.test import Client
from django.urls import reverse

from accounts import actions
from accounts.access import Member
from accounts.models import EnrollmentStatus, Purpose, Upload, UploadState, User
from quokkaq.lib.storage import s3 as s3_store
from quokkaq.lib.storage import serve, store
from tests import factories
from tests.factories import World
from tests.services.s3_server import S3Server
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]


def begin(client: Client, name: str = "notes.txt", size: int = 5, **fields: str) -> dict[str, Any]:
    response = client.post(
        "/uploads/", {"purpose": "attachment", "course": "cs-101", "name": name, "size": str(size)} | fields
    )
    assert response.status_code == 201, response.content
    told: dict[str, Any] = response.json()
    return told


def send(told: dict[str, Any], data: bytes = b"Hello", **changes: Any) -> httpx.Response:
    fields = told["fields"] | changes
    return httpx.post(
        told["url"], data={k: v for k, v in fields.items() if v is not None}, files={"file": ("x", data)}, timeout=30
    )


# The whole way


def test_a_file_goes_straight_to_the_bucket_and_is_served_from_there(
    bucket: S3Server, world: World, signed_in: SignIn, django_capture_on_commit_callbacks: Any
) -> None:
    client = signed_in(world.user("sam"))
    told = begin(client)
    assert told["url"].startswith(bucket.endpoint)
    sent = send(told)
    assert sent.status_code == 201, sent.text
    assert bucket.stored() == [f"quarantine/{told['id']}"]
    with django_capture_on_commit_callbacks(execute=True):
        assert "Being checked" in client.post(told["confirm"]).content.decode()
        run_tasks()
    assert bucket.stored() == [f"files/{told['id']}"]
    head = bucket.client().head_object(Bucket=bucket.bucket, Key=f"files/{told['id']}")
    assert (head["ContentType"], head["ServerSideEncryption"]) == ("text/plain; charset=utf-8", "AES256")
    response = client.get(f"/files/{told['id']}/")
    assert response.status_code == 302
    assert "private" in response["Cache-Control"]
    got = httpx.get(response["Location"])
    assert (got.status_code, got.content) == (200, b"Hello")
    assert got.headers["content-disposition"] == 'attachment; filename="notes.txt"'
    assert httpx.get(response["Location"].split("?")[0]).status_code == 403
    assert httpx.get(response["Location"].replace(told["id"], str(uuid.uuid4()))).status_code == 403
    assert httpx.get(f"{bucket.endpoint}/{bucket.bucket}?list-type=2").status_code == 403


def test_pictures_are_made_anew_and_avatars_too(bucket: S3Server, sam: Member) -> None:
    shot = factories.checked_file(
        sam, "a.jpg", factories.picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0SecretPlace")
    )
    data = b"".join(store().chunks(shot.storage_key))
    assert b"SecretPlace" not in data
    assert hashlib.sha256(data).hexdigest() == shot.sha256
    face = factories.checked_file(sam, "me.png", factories.picture(), Purpose.AVATAR)
    actions.choose_avatar(by=sam.user, upload=face.pk)
    response = serve(face.storage_key, content_type="image/webp", inline=True)
    assert httpx.get(response["Location"]).headers["content-disposition"].startswith("inline")


def test_a_form_without_script_goes_to_the_bucket_too(bucket: S3Server, world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    fields = {
        "title": "Why does it crash?",
        "body": "See.",
        "kind": "question",
        "visibility": "course",
        "anonymity": "named",
    }
    file = io.BytesIO(b"Some notes.")
    file.name = "notes.txt"
    client.post("/c/cs-101/ask/", fields | {"files": file})
    run_tasks()
    upload = Upload.objects.get()
    assert upload.storage_key in bucket.stored()


# Cheating


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, b"Hello!"), ({}, b"Hell"), ({}, b""), ({"key": "files/00000000-0000-0000-0000-000000000000"}, b"Hello"),
        ({"key": "quarantine/other"}, b"Hello"), ({"Content-Type": "text/html"}, b"Hello"), ({"Content-Type": None}, b"Hello"),
        ({"x-amz-meta-owner": "somebody-else"}, b"Hello"), ({"acl": "public-read"}, b"Hello"),
        ({"success_action_redirect": "https://evil.example/"}, b"Hello"), ({"x-amz-server-side-encryption": None}, b"Hello"),
        ({"x-amz-signature": "0" * 64}, b"Hello"), ({"policy": base64.b64encode(b"{}").decode()}, b"Hello"),
        ({"x-amz-storage-class": "GLACIER"}, b"Hello"), ({"x-amz-credential": "AKIAOTHER/20200101/eu/s3/aws4_request"}, b"Hello"),
    ],
)  # fmt: skip
def test_what_the_policy_does_not_say_is_refused_by_the_bucket(
    bucket: S3Server, world: World, signed_in: SignIn, changes: dict[str, Any], data: bytes
) -> None:
    told = begin(signed_in(world.user("sam")))
    assert send(told, data, **changes).status_code in (400, 403)
    assert bucket.stored() == []


def test_a_ticket_used_again_changes_nothing_that_is_served(
    bucket: S3Server, world: World, signed_in: SignIn, django_capture_on_commit_callbacks: Any
) -> None:
    client = signed_in(world.user("sam"))
    told = begin(client)
    send(told)
    with django_capture_on_commit_callbacks(execute=True):
        client.post(told["confirm"])
        run_tasks()
    assert send(told, b"Evil!").status_code == 201
    with django_capture_on_commit_callbacks(execute=True):
        client.post(told["confirm"])
        run_tasks()
    served = client.get(f"/files/{told['id']}/")["Location"]
    assert httpx.get(served).content == b"Hello"
    assert bucket.client().head_object(Bucket=bucket.bucket, Key=f"files/{told['id']}")["ContentLength"] == 5


def test_a_swap_between_the_look_and_the_copy_changes_nothing(bucket: S3Server, sam: Member, monkeypatch: Any) -> None:
    upload = factories.sent_file(sam, data=b"Hello")
    key, real = f"quarantine/{upload.pk}", s3_store.S3Store.promote

    def swap(self: Any, *args: Any, **kwargs: Any) -> None:
        bucket.client().put_object(Bucket=bucket.bucket, Key=key, Body=b"Evil!", ContentType="text/plain")
        real(self, *args, **kwargs)

    monkeypatch.setattr(s3_store.S3Store, "promote", swap)
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    # The bucket keeps versions: the one that was looked at is the one released.
    assert b"".join(store().chunks(upload.storage_key)) == b"Hello"
    assert b"".join(store().chunks(key)) == b"Evil!"


def test_another_persons_file_and_a_left_course(bucket: S3Server, world: World, signed_in: SignIn) -> None:
    sam, noor = signed_in(world.user("sam")), signed_in(world.user("noor"))
    told = begin(sam)
    send(told)
    assert noor.post(told["confirm"]).status_code == 404
    world.user("sam").enrollments.update(status=EnrollmentStatus.DROPPED)
    assert sam.post(told["confirm"]).status_code == 404
    assert sam.get(f"/files/{told['id']}/").status_code == 404
    assert Upload.objects.get().state == UploadState.PENDING


def test_the_keys_of_the_bucket_stand_in_no_page(bucket: S3Server, world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    told = begin(client)
    # The id of the key is public by its nature (it says which key signed); the secret is not.
    assert bucket.access_key in json.dumps(told)
    for page in (
        json.dumps(told),
        client.get("/c/cs-101/ask/").content.decode(),
        client.get(reverse("accounts:profile")).content.decode(),
    ):
        assert bucket.secret_key not in page
