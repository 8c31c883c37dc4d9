import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import quokkaq.lib.uuid7

# Rows of these tables are only ever added. What is in the log for longer than a year goes through `accounts_purge_audit`
# and no other way; the trigger looks at each row itself, so the function can't be talked into more.
FORWARD = """
CREATE FUNCTION accounts_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'accounts_auditevent' THEN
        IF current_setting('quokkaq.purging', true) = 'audit' AND OLD.created_at < now() - interval '365 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '% takes new rows only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER accounts_audit_append_only BEFORE UPDATE OR DELETE ON accounts_auditevent
    FOR EACH ROW EXECUTE FUNCTION accounts_append_only();
CREATE TRIGGER accounts_audit_no_truncate BEFORE TRUNCATE ON accounts_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_append_only();
CREATE TRIGGER accounts_consent_append_only BEFORE UPDATE OR DELETE ON accounts_consent
    FOR EACH ROW EXECUTE FUNCTION accounts_append_only();
CREATE TRIGGER accounts_consent_no_truncate BEFORE TRUNCATE ON accounts_consent
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_append_only();

CREATE FUNCTION accounts_purge_audit(of_institution uuid, before timestamptz, at_most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE gone integer;
BEGIN
    IF before > now() - interval '365 days' THEN
        RAISE EXCEPTION 'the audit log is kept for a year' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('quokkaq.purging', 'audit', true);
    DELETE FROM public.accounts_auditevent WHERE id IN (
        SELECT id FROM public.accounts_auditevent
        WHERE institution_id = of_institution AND created_at < before ORDER BY created_at LIMIT at_most
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('quokkaq.purging', '', true);
    RETURN gone;
END $$;

-- Row-level security shows nobody somebody else's session, ended or not.
CREATE FUNCTION accounts_purge_sessions(before timestamptz, at_most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE gone integer; scope text := current_setting('quokkaq.institution', true);
BEGIN
    IF before > clock_timestamp() THEN
        RAISE EXCEPTION 'only sessions that have ended may go' USING ERRCODE = 'restrict_violation';
    END IF;
    PERFORM set_config('quokkaq.institution', '*', true);
    DELETE FROM public.django_session WHERE session_key IN (
        SELECT session_key FROM public.django_session WHERE expire_date < before LIMIT at_most
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('quokkaq.institution', coalesce(scope, ''), true);
    RETURN gone;
END $$;
REVOKE ALL ON FUNCTION accounts_purge_sessions(timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION accounts_purge_audit(uuid, timestamptz, integer) FROM PUBLIC;
"""

BACKWARD = """
DROP FUNCTION accounts_purge_sessions(timestamptz, integer);
DROP FUNCTION accounts_purge_audit(uuid, timestamptz, integer);
DROP TRIGGER accounts_consent_no_truncate ON accounts_consent;
DROP TRIGGER accounts_consent_append_only ON accounts_consent;
DROP TRIGGER accounts_audit_no_truncate ON accounts_auditevent;
DROP TRIGGER accounts_audit_append_only ON accounts_auditevent;
DROP FUNCTION accounts_append_only();
"""

# Before constraints come back (on the way back only), keys of rows that are gone become empty, as they were then.
DANGLING = """
UPDATE accounts_auditevent e SET actor_id = NULL WHERE NOT EXISTS (SELECT FROM accounts_user u WHERE u.id = e.actor_id);
UPDATE accounts_auditevent e SET course_id = NULL WHERE NOT EXISTS (SELECT FROM accounts_course c WHERE c.id = e.course_id);
DELETE FROM accounts_auditevent e WHERE NOT EXISTS (SELECT FROM accounts_institution i WHERE i.id = e.institution_id);
SET CONSTRAINTS ALL IMMEDIATE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_lti"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("sessions", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Consent",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(choices=[("ai", "My texts may go to a model outside this server")], max_length=20),
                ),
                ("version", models.CharField(max_length=20)),
                ("is_given", models.BooleanField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="DataExport",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Waiting"),
                            ("running", "Being put together"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                            ("expired", "Gone"),
                        ],
                        default="queued",
                        max_length=8,
                    ),
                ),
                ("done", models.PositiveIntegerField(default=0)),
                ("total", models.PositiveIntegerField(default=0)),
                ("error_code", models.CharField(blank=True, max_length=80)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("touched_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("mailed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Erasure",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=quokkaq.lib.uuid7.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("scheduled", "Scheduled"),
                            ("running", "Under way"),
                            ("done", "Done"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="scheduled",
                        max_length=10,
                    ),
                ),
                ("obstacle", models.CharField(blank=True, max_length=300)),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("due_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["-requested_at", "-id"],
            },
        ),
        migrations.AddField(
            model_name="auditevent",
            name="agent",
            field=models.CharField(blank=True, max_length=40, verbose_name="browser"),
        ),
        migrations.AddField(
            model_name="auditevent",
            name="network",
            field=models.CharField(blank=True, max_length=43),
        ),
        migrations.AddField(
            model_name="user",
            name="erased_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="actor",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="course",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.course",
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="institution",
            field=models.ForeignKey(
                db_constraint=False,
                editable=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.institution",
            ),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["actor", "-created_at", "-id"], name="audit_by_actor"),
        ),
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["institution", "created_at"], name="audit_by_age"),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("erased_at", None), ("is_active", False), _connector="OR"),
                name="user_erased_is_inactive",
            ),
        ),
        migrations.AddField(
            model_name="consent",
            name="institution",
            field=models.ForeignKey(
                db_constraint=False,
                editable=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="accounts.institution",
            ),
        ),
        migrations.AddField(
            model_name="consent",
            name="user",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="consents",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="dataexport",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="dataexport",
            name="upload",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="data_export",
                to="accounts.upload",
            ),
        ),
        migrations.AddField(
            model_name="dataexport",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="erasure",
            name="institution",
            field=models.ForeignKey(
                editable=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="accounts.institution"
            ),
        ),
        migrations.AddField(
            model_name="erasure",
            name="requested_by",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="erasure",
            name="user",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="erasures", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddIndex(
            model_name="consent",
            index=models.Index(fields=["user", "-created_at", "-id"], name="consent_by_user"),
        ),
        migrations.AddConstraint(
            model_name="consent",
            constraint=models.CheckConstraint(condition=models.Q(("kind__in", ["ai"])), name="consent_kind_known"),
        ),
        migrations.AddIndex(
            model_name="dataexport",
            index=models.Index(fields=["user", "-created_at", "-id"], name="data_export_by_user"),
        ),
        migrations.AddIndex(
            model_name="dataexport",
            index=models.Index(
                condition=models.Q(("state__in", ("queued", "running"))),
                fields=["touched_at"],
                name="data_export_under_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="dataexport",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["queued", "running", "ready", "failed", "expired"])),
                name="data_export_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="dataexport",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("queued", "running"))),
                fields=("user",),
                name="data_export_one_at_a_time",
            ),
        ),
        migrations.AddIndex(
            model_name="erasure",
            index=models.Index(
                condition=models.Q(("state__in", ("scheduled", "running"))), fields=["due_at"], name="erasure_open"
            ),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["scheduled", "running", "done", "cancelled"])),
                name="erasure_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="erasure",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("scheduled", "running"))),
                fields=("user",),
                name="erasure_one_at_a_time",
            ),
        ),
        migrations.RunSQL(migrations.RunSQL.noop, DANGLING),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
