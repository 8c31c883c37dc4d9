"""Domains and identity providers of institutions; when somebody's rights grew; proved addresses of who is here already."""

from typing import Any, ClassVar

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import quokkaq.lib.uuid7
from quokkaq.lib.database.functions import reach

FORWARD = """
CREATE FUNCTION accounts_note_course_rights() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts_user SET rights_changed_at = clock_timestamp() WHERE id = NEW.user_id;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_note_course_rights AFTER INSERT ON accounts_enrollment
    FOR EACH ROW WHEN (NEW.role <> 'student' AND NEW.status = 'active')
    EXECUTE FUNCTION accounts_note_course_rights();
CREATE TRIGGER accounts_note_course_rights_later AFTER UPDATE OF role, status ON accounts_enrollment
    FOR EACH ROW WHEN (NEW.role <> 'student' AND NEW.status = 'active'
        AND (NEW.role IS DISTINCT FROM OLD.role OR NEW.status IS DISTINCT FROM OLD.status))
    EXECUTE FUNCTION accounts_note_course_rights();

CREATE FUNCTION accounts_note_site_rights() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.rights_changed_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_note_site_rights BEFORE UPDATE OF is_staff, is_superuser ON accounts_user
    FOR EACH ROW WHEN ((NEW.is_staff AND NOT OLD.is_staff) OR (NEW.is_superuser AND NOT OLD.is_superuser))
    EXECUTE FUNCTION accounts_note_site_rights();
"""
BACKWARD = """
DROP TRIGGER accounts_note_site_rights ON accounts_user;
DROP FUNCTION accounts_note_site_rights();
DROP TRIGGER accounts_note_course_rights_later ON accounts_enrollment;
DROP TRIGGER accounts_note_course_rights ON accounts_enrollment;
DROP FUNCTION accounts_note_course_rights();
"""


def prove_addresses(apps: Any, schema_editor: Any) -> None:
    """Who could sign in until now still can. Done a second time it brings no address to somebody who was erased."""
    address = apps.get_model("account", "EmailAddress")
    # `erased_at` was lost on the way back.
    users = apps.get_model("accounts", "User").objects.exclude(email__endswith="@deleted.invalid")
    people = users.values_list("pk", "email").order_by("pk")
    rows = []
    for pk, email in people.iterator(chunk_size=1000):
        rows.append(address(user_id=pk, email=email, verified=True, primary=True))
        if len(rows) == 1000:
            address.objects.bulk_create(rows, ignore_conflicts=True)
            rows = []
    address.objects.bulk_create(rows, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("accounts", "0010_privacy"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations: ClassVar = [
        migrations.AddField(
            model_name="institution",
            name="staff_second_factor",
            field=models.BooleanField(
                default=True,
                help_text="Who opens Django admin or runs a course signs in with an authenticator app or a passkey as well.",
                verbose_name="staff need a second factor",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="rights_changed_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.CreateModel(
            name="IdentityProvider",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("slug", models.SlugField(unique=True)),
                ("name", models.CharField(help_text="What the button says: Sign in with …", max_length=80)),
                (
                    "protocol",
                    models.CharField(choices=[("oidc", "OpenID Connect"), ("saml", "SAML 2.0")], max_length=8),
                ),
                ("enabled", models.BooleanField(default=True)),
                (
                    "server_url",
                    models.URLField(
                        blank=True,
                        help_text="OpenID Connect: the issuer. SAML: the address of the metadata.",
                        max_length=500,
                        verbose_name="issuer or metadata",
                    ),
                ),
                (
                    "metadata",
                    models.TextField(
                        blank=True,
                        help_text="The service's metadata as XML, where they have no address.",
                        verbose_name="SAML metadata",
                    ),
                ),
                (
                    "client_id",
                    models.CharField(
                        blank=True, help_text="OpenID Connect: what the service calls QuokkaQ.", max_length=255
                    ),
                ),
                ("sealed_secret", models.TextField(blank=True, editable=False)),
                (
                    "trusts_emails",
                    models.BooleanField(
                        default=False,
                        help_text="Its people are signed in to the account that has their e-mail address, without proving first that it is theirs. Only for addresses in the institution's own domains, and only for a service that proves them.",
                        verbose_name="signs in existing accounts",
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identity_providers",
                        to="accounts.institution",
                    ),
                ),
            ],
            options={
                "ordering": ["name", "id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("protocol__in", ["oidc", "saml"])), name="identityprovider_protocol_known"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="InstitutionDomain",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "domain",
                    models.CharField(
                        max_length=253,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
                                "Give a domain, for example example.edu.",
                            )
                        ],
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "institution",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="domains", to="accounts.institution"
                    ),
                ),
            ],
            options={
                "ordering": ["domain"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("domain", django.db.models.functions.text.Lower("domain"))),
                        name="institutiondomain_lower_case",
                    )
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
        reach(
            "address",
            "SELECT u.institution_id FROM account_emailaddress a JOIN accounts_user u ON u.id = a.user_id"
            " WHERE a.id::text = value",
        ),
        reach("domain", "SELECT institution_id FROM accounts_institutiondomain WHERE domain = value"),
        reach("provider", "SELECT institution_id FROM accounts_identityprovider WHERE slug = value AND enabled"),
        migrations.RunPython(prove_addresses, migrations.RunPython.noop, elidable=True),
    ]
