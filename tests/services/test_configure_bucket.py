"""`configure_bucket` against a real endpoint: what it sets, what it calls different, what it refuses."""

import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from quokkaq.lib import storage
from quokkaq.lib.storage import S3Store
from tests.services.s3_server import S3Server, s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["s3"]

SITE = "https://forum.example.edu"
PARTS = ["public access", "ownership", "policy", "encryption", "versioning", "lifecycle", "CORS"]


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[str]:
    """A bucket nobody has configured."""
    name = f"new-{uuid.uuid4()}"
    s3.client().create_bucket(Bucket=name)
    with s3.settings(AWS_STORAGE_BUCKET_NAME=name, BASE_URL=SITE, CSRF_TRUSTED_ORIGINS=[]):
        yield name


@pytest.fixture
def client(s3: S3Server) -> "S3Client":
    return s3.client()


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("configure_bucket", *arguments, stdout=out)
    return out.getvalue()


def differing() -> list[str]:
    """Return the parts that `--check` calls different; it ends with code 1 exactly when there are any."""
    out = io.StringIO()
    code = 0
    try:
        call_command("configure_bucket", "--check", stdout=out)
    except CommandError as error:
        code = error.returncode
    found = [line.partition(":")[0] for line in out.getvalue().splitlines() if ": is " in line]
    assert code == bool(found)
    return found


def test_a_new_bucket_is_configured_once(bucket: str, client: "S3Client") -> None:
    # The encryption of today's buckets is on from the start.
    assert set(differing()) >= set(PARTS) - {"encryption"}
    changed = run()
    assert all(f"{part}: set to" in changed for part in PARTS if part != "encryption")
    assert differing() == []
    assert run() == f"The bucket {bucket} is as it should be.\n"
    assert set(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    ownership = client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert client.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    encryption = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert encryption["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    rules = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    for prefix in ("quarantine", "temporary"):
        assert rules[f"quokkaq-{prefix}"]["Expiration"]["Days"] == 7
        assert rules[f"quokkaq-{prefix}"]["Filter"]["Prefix"] == f"{prefix}/"
    assert rules["quokkaq-everything"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 90
    assert rules["quokkaq-everything"]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 7
    assert "Expiration" not in rules["quokkaq-everything"]
    policy = json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert {statement["Effect"] for statement in policy} == {"Deny"}
    tls = next(statement for statement in policy if statement["Sid"] == "QuokkaqTlsOnly")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert tls["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]


def public(client: "S3Client", bucket: str) -> None:
    client.delete_public_access_block(Bucket=bucket)


def owned_by_writers(client: "S3Client", bucket: str) -> None:
    client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )


def no_policy(client: "S3Client", bucket: str) -> None:
    client.delete_bucket_policy(Bucket=bucket)


def other_encryption(client: "S3Client", bucket: str) -> None:
    client.put_bucket_encryption(
        Bucket=bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}}]
        },
    )


def no_versions(client: "S3Client", bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def longer_life(client: "S3Client", bucket: str) -> None:
    rules: list[Any] = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    next(rule for rule in rules if rule["ID"] == "quokkaq-quarantine")["Expiration"] = {"Days": 70}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})


def open_to_others(client: "S3Client", bucket: str) -> None:
    client.put_bucket_cors(
        Bucket=bucket, CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]}
    )


@pytest.mark.parametrize(
    ("part", "drift"),
    list(
        zip(
            PARTS,
            [public, owned_by_writers, no_policy, other_encryption, no_versions, longer_life, open_to_others],
            strict=True,
        )
    ),
    ids=PARTS,
)
def test_what_drifts_is_told_and_set_right(
    bucket: str, client: "S3Client", part: str, drift: Callable[["S3Client", str], None]
) -> None:
    run()
    drift(client, bucket)
    assert differing() == [part]
    assert differing() == [part]  # checking wrote nothing
    assert f"{part}: set to" in run()
    assert differing() == []


def test_what_an_operator_added_stays(bucket: str, client: "S3Client") -> None:
    logs = {
        "Sid": "Logs",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/logs/*",
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [logs]}))
    client.put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [{"ID": "logs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 30}}]
        },
    )
    run()
    assert logs in json.loads(client.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert "logs" in {rule["ID"] for rule in client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]}
    assert differing() == []


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": ["arn:aws:iam::123456789012:root", "*"]}])
def test_a_bucket_open_to_everybody_is_refused(bucket: str, client: "S3Client", principal: object) -> None:
    everybody = {
        "Sid": "Everybody",
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))
    for arguments in ([], ["--check"]):
        with pytest.raises(CommandError, match="lets everybody in \\(statement Everybody\\)"):
            run(*arguments)
    with pytest.raises(client.exceptions.ClientError):
        client.get_bucket_cors(Bucket=bucket)  # nothing was written


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"BASE_URL": f"{SITE}/forum", "CSRF_TRUSTED_ORIGINS": ["https://b.example"]}, ["https://b.example", SITE]),
        ({"BASE_URL": "", "ALLOWED_HOSTS": ["forum.example.edu"]}, [SITE]),
    ],
)
def test_only_our_own_pages_may_use_it(
    s3: S3Server, bucket: str, client: "S3Client", names: dict[str, Any], expected: list[str]
) -> None:
    with s3.settings(**{"AWS_STORAGE_BUCKET_NAME": bucket, "CSRF_TRUSTED_ORIGINS": [], **names}):
        run()
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == expected


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"CSRF_TRUSTED_ORIGINS": ["https://*.example.edu"]}, "stands for many sites"),
        ({"BASE_URL": "", "ALLOWED_HOSTS": ["*"]}, "stands for many sites"),
        ({"BASE_URL": "", "ALLOWED_HOSTS": [".example.edu"]}, "stands for many sites"),
        ({"BASE_URL": "", "ALLOWED_HOSTS": []}, "Set BASE_URL"),
    ],
)
def test_many_sites_at_once_are_refused(s3: S3Server, bucket: str, names: dict[str, Any], sentence: str) -> None:
    with (
        s3.settings(**{"AWS_STORAGE_BUCKET_NAME": bucket, "CSRF_TRUSTED_ORIGINS": [], **names}),
        pytest.raises(CommandError, match=sentence),
    ):
        run()


def test_a_page_of_ours_may_send_and_another_may_not(bucket: str, s3: S3Server) -> None:
    run()
    place = storage.store()
    assert isinstance(place, S3Store)
    ticket = place.ticket("quarantine/a", content_type="text/plain", size=1, owner="o")
    assert ticket is not None
    for origin, method, status in (
        (SITE, "POST", 200),
        (SITE, "PUT", 403),
        (SITE, "DELETE", 403),
        ("https://elsewhere.example", "POST", 403),
    ):
        asked = httpx.options(ticket.url, headers={"Origin": origin, "Access-Control-Request-Method": method})
        assert asked.status_code == status, (origin, method)
        assert asked.headers.get("Access-Control-Allow-Origin") == (SITE if status == 200 else None)
    for origin, allowed in ((SITE, SITE), ("https://elsewhere.example", None)):
        sent = httpx.post(ticket.url, data=ticket.fields, files={"file": b"x"}, headers={"Origin": origin})
        assert sent.headers.get("Access-Control-Allow-Origin") == allowed


def test_a_key_of_ones_own_encrypts(s3: S3Server, bucket: str, client: "S3Client") -> None:
    with s3.settings(AWS_STORAGE_BUCKET_NAME=bucket, BASE_URL=SITE, CSRF_TRUSTED_ORIGINS=[], AWS_S3_KMS_KEY_ID="key-1"):
        assert "aws:kms" in run()
        assert differing() == []
        # This endpoint has no TLS, which the policy asks for.
        client.delete_bucket_policy(Bucket=bucket)
        place = storage.store()
        ticket = place.ticket("quarantine/a", content_type="text/plain", size=1, owner="o")
        assert ticket is not None
        assert httpx.post(ticket.url, data=ticket.fields, files={"file": b"x"}).status_code == 201
        place.put("files/b", io.BytesIO(b"x"), content_type="text/plain", owner="o")
    for key in ("quarantine/a", "files/b"):
        found = client.head_object(Bucket=bucket, Key=key)
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "key-1")


def test_trouble_is_told(s3: S3Server, bucket: str) -> None:
    with s3.settings(AWS_STORAGE_BUCKET_NAME=""), pytest.raises(CommandError, match="files lie on the disk"):
        run()
    with s3.settings(AWS_STORAGE_BUCKET_NAME="no-such-bucket"), pytest.raises(CommandError, match="NoSuchBucket"):
        run()
    with (
        s3.settings(AWS_STORAGE_BUCKET_NAME=bucket, AWS_S3_ENDPOINT_URL="http://127.0.0.1:1"),
        pytest.raises(CommandError, match="can't be reached"),
    ):
        run()
