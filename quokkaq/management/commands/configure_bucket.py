"""`manage.py configure_bucket`: make the bucket of uploaded files private, versioned, encrypted, and nobody else's."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from quokkaq.lib.storage import QUARANTINE, TEMPORARY
from quokkaq.lib.storage.s3 import client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SHORT_DAYS = 7
OLD_VERSION_DAYS = 90
# What S3 answers when a part was never configured.
_NOT_SET = {
    "NoSuchPublicAccessBlockConfiguration",
    "OwnershipControlsNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "NoSuchLifecycleConfiguration",
    "NoSuchCORSConfiguration",
    "NoSuchBucketPolicy",
}


@dataclass(frozen=True)
class Part:
    """One configuration of the bucket: how it is read, what it should be, and how it is written."""

    name: str
    read: Callable[[], Any]
    wanted: Any
    write: Callable[[Any], object]


class Command(BaseCommand):
    help = (
        "Configure the bucket AWS_STORAGE_BUCKET_NAME: private, TLS only, versioned, encrypted, with an end for what is"
        " temporary, open to our own pages alone. Doing it again changes nothing. --check only tells what differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="change nothing; end with code 1 when anything differs"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        bucket = settings.AWS_STORAGE_BUCKET_NAME
        if not bucket:
            raise CommandError("AWS_STORAGE_BUCKET_NAME is not set, so files lie on the disk.")
        differing = 0
        try:
            for part in parts(bucket):
                found = part.read()
                if found == part.wanted:
                    continue
                differing += 1
                if options["check"]:
                    self.stdout.write(f"{part.name}: is {_shown(found)}, should be {_shown(part.wanted)}")
                else:
                    part.write(part.wanted)
                    self.stdout.write(f"{part.name}: set to {_shown(part.wanted)}")
        except ClientError as error:
            raise CommandError(f"The bucket {bucket} answered: {error}") from error
        except BotoCoreError as error:
            raise CommandError(f"The bucket {bucket} can't be reached: {error}") from error
        if not differing:
            self.stdout.write(f"The bucket {bucket} is as it should be.")
        elif options["check"]:
            raise CommandError(f"{differing} differ. Run again without --check to set them.")


def parts(bucket: str) -> list[Part]:
    """Return what is configured, in the order of writing: closed to the public before anything else.

    Raises `CommandError` when its policy lets everybody in, or the settings name no site of ours.
    """
    s3 = client(settings.AWS_S3_ENDPOINT_URL, settings.AWS_S3_REGION_NAME, connect=2, read=10, attempts=3)
    arn = f"arn:aws:s3:::{bucket}"

    def asked(call: Callable[..., Any], *path: str) -> Callable[[], Any]:
        return lambda: _asked(s3, call, bucket, *path)

    policy = asked(s3.get_bucket_policy, "Policy")
    statements = _statements(policy())
    ours = {statement["Sid"]: statement for statement in _denials(arn)}
    others = [statement for statement in statements if statement.get("Sid") not in ours]
    for statement in others:
        if _lets_everybody_in(statement):
            raise CommandError(
                f"The policy of {bucket} lets everybody in (statement {statement.get('Sid') or 'without a Sid'})."
                " Remove it: files are shown by signed links alone."
            )
    lifecycle = asked(s3.get_bucket_lifecycle_configuration, "Rules")
    rules = {rule["ID"]: rule for rule in _lifecycle()}
    other_rules = [rule for rule in lifecycle() or [] if rule.get("ID") not in rules]
    return [
        Part(
            "public access",
            asked(s3.get_public_access_block, "PublicAccessBlockConfiguration"),
            dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True),
            lambda value: s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=value),
        ),
        Part(
            "ownership",
            asked(s3.get_bucket_ownership_controls, "OwnershipControls", "Rules"),
            [{"ObjectOwnership": "BucketOwnerEnforced"}],
            lambda value: s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": value}),
        ),
        Part(
            "policy",
            lambda: _by_sid(_statements(policy())),
            _by_sid([*others, *ours.values()]),
            lambda value: s3.put_bucket_policy(
                Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": value})
            ),
        ),
        Part(
            "encryption",
            lambda: _encryption(s3, bucket),
            _wanted_encryption(),
            lambda value: s3.put_bucket_encryption(
                Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [{"ApplyServerSideEncryptionByDefault": value}]}
            ),
        ),
        Part(
            "versioning",
            asked(s3.get_bucket_versioning, "Status"),
            "Enabled",
            lambda value: s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": value}),
        ),
        Part(
            "lifecycle",
            lambda: _by_id(lifecycle() or []),
            _by_id([*other_rules, *rules.values()]),
            lambda value: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": value}),
        ),
        Part(
            "CORS",
            asked(s3.get_bucket_cors, "CORSRules"),
            [
                {
                    "AllowedOrigins": own_origins(),
                    "AllowedMethods": ["GET", "POST"],
                    "AllowedHeaders": ["content-type"],
                    "MaxAgeSeconds": 3600,
                }
            ],
            lambda value: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": value}),
        ),
    ]  # fmt: skip


def own_origins() -> list[str]:
    """Return the origins of our own pages: `BASE_URL`, `CSRF_TRUSTED_ORIGINS`; without both, `ALLOWED_HOSTS` by HTTPS.

    Raises `CommandError` when there is none, or one stands for many sites.
    """
    origins = {*settings.CSRF_TRUSTED_ORIGINS}
    if settings.BASE_URL:
        origins.add("{0.scheme}://{0.netloc}".format(urlsplit(settings.BASE_URL)))
    origins = origins or {f"https://{host}" for host in settings.ALLOWED_HOSTS}
    wide = sorted(origin for origin in origins if "*" in origin or "://." in origin)
    if wide:
        raise CommandError(f"{', '.join(wide)} stands for many sites. Name each one in CSRF_TRUSTED_ORIGINS.")
    if not origins:
        raise CommandError("No site may send files. Set BASE_URL: https://forum.example.edu")
    return sorted(origins)


def _denials(arn: str) -> list[dict[str, Any]]:
    """Return the statements of the policy: nothing without TLS, nothing encrypted otherwise than the bucket is."""
    everything = {"Effect": "Deny", "Principal": "*"}
    put = {**everything, "Action": "s3:PutObject", "Resource": f"{arn}/*"}
    wanted = _wanted_encryption()["SSEAlgorithm"]
    return [
        {
            "Sid": "QuokkaqTlsOnly",
            **everything,
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            # What names none, as the parts of a large file do, is encrypted as the bucket is.
            "Sid": "QuokkaqOwnEncryptionOnly",
            **put,
            "Condition": {
                "StringNotEquals": {"s3:x-amz-server-side-encryption": wanted},
                "Null": {"s3:x-amz-server-side-encryption": "false"},
            },
        },
        {
            "Sid": "QuokkaqNoForeignKeys",
            **put,
            "Condition": {"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": "false"}},
        },
    ]


def _lifecycle() -> list[dict[str, Any]]:
    short = [
        {
            "ID": f"quokkaq-{prefix.rstrip('/')}",
            "Filter": {"Prefix": prefix},
            "Status": "Enabled",
            "Expiration": {"Days": SHORT_DAYS},
            "NoncurrentVersionExpiration": {"NoncurrentDays": SHORT_DAYS},
        }
        for prefix in (QUARANTINE, TEMPORARY)
    ]
    return [
        *short,
        {
            "ID": "quokkaq-everything",
            "Filter": {"Prefix": ""},
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": OLD_VERSION_DAYS},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": SHORT_DAYS},
        },
    ]


def _wanted_encryption() -> dict[str, str]:
    if settings.AWS_S3_KMS_KEY_ID:
        return {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": settings.AWS_S3_KMS_KEY_ID}
    return {"SSEAlgorithm": "AES256"}


def _encryption(s3: "S3Client", bucket: str) -> Any:
    rules = _asked(s3, s3.get_bucket_encryption, bucket, "ServerSideEncryptionConfiguration", "Rules")
    return rules[0].get("ApplyServerSideEncryptionByDefault") if rules else None


def _asked(s3: "S3Client", call: Callable[..., Any], bucket: str, *path: str) -> Any:
    """Return what lies at `path` in an answer of S3, None where nothing was set."""
    try:
        found = call(Bucket=bucket)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in _NOT_SET:
            return None
        raise
    for name in path:
        found = found.get(name) if found else None
    return found


def _statements(policy: str | None) -> list[dict[str, Any]]:
    found = json.loads(policy)["Statement"] if policy else []
    return found if isinstance(found, list) else [found]


def _lets_everybody_in(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, dict) else principal
    everybody = "*" in (named if isinstance(named, list) else [named])
    return statement.get("Effect") == "Allow" and (everybody or "NotPrincipal" in statement)


def _by_sid(statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(statements, key=lambda statement: str(statement.get("Sid", "")))


def _by_id(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rules, key=lambda rule: str(rule.get("ID", "")))


def _shown(value: Any) -> str:
    return "not set" if value in (None, [], {}) else value if isinstance(value, str) else json.dumps(value, default=str)
