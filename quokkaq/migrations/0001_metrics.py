"""What metrics stand on: when backups were made, and a function that counts over all institutions."""

from typing import ClassVar

import django.utils.timezone
from django.db import migrations, models

# Sums and counts only, of which nothing of anybody can be told. Each is cheap at a million threads: an index holds the
# questions nobody answered and the jobs that failed, spending is looked up for each course by its key, and threads are
# counted up to 20,000, then estimated.
FORWARD = """
CREATE INDEX IF NOT EXISTS quokkaq_threads_unanswered ON forum_thread (institution_id)
    WHERE status = 'open' AND kind = 'question' AND deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS quokkaq_jobs_failed ON procrastinate_jobs (id) WHERE status = 'failed';

CREATE FUNCTION quokkaq_state(course_cap bigint, institution_cap bigint)
    RETURNS TABLE (gauge text, label text, reading double precision) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before text := current_setting('quokkaq.institution', true);
    today date := (now() AT TIME ZONE 'UTC')::date;
    threads bigint;
BEGIN
    PERFORM set_config('quokkaq.institution', '*', true);

    SELECT count(*) INTO threads FROM (SELECT FROM forum_thread WHERE deleted_at IS NULL LIMIT 20001) up_to;
    IF threads > 20000 THEN
        SELECT greatest(reltuples, 20001) INTO threads FROM pg_class WHERE oid = 'forum_thread'::regclass;
    END IF;
    RETURN QUERY SELECT 'threads', '', threads::double precision;
    RETURN QUERY SELECT 'threads_unanswered', '', count(*)::double precision FROM (
        SELECT FROM forum_thread WHERE status = 'open' AND kind = 'question' AND deleted_at IS NULL LIMIT 200000
    ) up_to;

    RETURN QUERY SELECT 'sessions', '', count(*)::double precision FROM django_session WHERE expire_date > now();
    RETURN QUERY SELECT 'active_users', 'day', count(DISTINCT user_id)::double precision
        FROM usersessions_usersession WHERE last_seen_at > now() - interval '1 day';
    RETURN QUERY SELECT 'active_users', 'week', count(DISTINCT user_id)::double precision
        FROM usersessions_usersession WHERE last_seen_at > now() - interval '7 days';

    RETURN QUERY SELECT 'budget', 'institution',
        coalesce(max((s.spent_micros + s.reserved_micros)::double precision / cap), 0)
        FROM accounts_institution i
        JOIN ai_answers_spending s ON s.scope = 'institution' AND s.scope_id = i.id AND s.day = today
        LEFT JOIN ai_answers_institutionai house ON house.institution_id = i.id
        CROSS JOIN LATERAL (SELECT nullif(coalesce(house.daily_cap_micros, institution_cap), 0) AS cap) of_day;
    RETURN QUERY SELECT 'budget', 'course',
        coalesce(max((s.spent_micros + s.reserved_micros)::double precision / cap), 0)
        FROM accounts_course c
        JOIN ai_answers_spending s ON s.scope = 'course' AND s.scope_id = c.id AND s.day = today
        LEFT JOIN ai_answers_courseai own ON own.course_id = c.id
        LEFT JOIN ai_answers_institutionai house ON house.institution_id = c.institution_id
        CROSS JOIN LATERAL (
            SELECT nullif(coalesce(own.daily_cap_micros, house.course_daily_cap_micros, course_cap), 0) AS cap
        ) of_day;

    -- Empty of what the tables' owner may not see: it needs pg_monitor.
    RETURN QUERY SELECT 'replica_lag', '', max(coalesce(extract(epoch FROM replay_lag), 0))::double precision
        FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') HAVING count(*) > 0;
    RETURN QUERY SELECT 'size', '', pg_database_size(current_database())::double precision;

    PERFORM set_config('quokkaq.institution', coalesce(before, ''), true);
END
$$;
"""
BACKWARD = """
DROP FUNCTION quokkaq_state(bigint, bigint);
DROP INDEX quokkaq_jobs_failed;
DROP INDEX quokkaq_threads_unanswered;
"""


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar = [
        ("accounts", "0011_sign_in"),
        ("forum", "0014_tenancy"),
        ("ai_answers", "0009_imports_of_uploads"),
        ("procrastinate", "0041_post_retry_failed_job"),
        ("sessions", "0001_initial"),
        ("usersessions", "0001_initial"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="Operation",
            fields=[
                (
                    "name",
                    models.CharField(
                        choices=[
                            ("backup-database", "Backup of the database"),
                            ("backup-media", "Backup of the files"),
                            ("restore-drill", "Restore drill"),
                        ],
                        max_length=40,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("ended_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("succeeded", models.BooleanField(default=True)),
                ("size", models.PositiveBigIntegerField(null=True, verbose_name="size in bytes")),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("name__in", ["backup-database", "backup-media", "restore-drill"])),
                        name="operation_name_known",
                    )
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
