"""What health and operators have to know across institutions: how the last calls of an engine ended, and which budgets are nearly used up."""

from django.db import migrations

# Outcomes only: neither whose calls they were nor what was asked.
FORWARD = """
CREATE FUNCTION ai_answers_last_calls(of_engine text, of_model text, since timestamptz, most integer)
    RETURNS TABLE (outcome text, reason text) LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before text := current_setting('quokkaq.institution', true);
BEGIN
    PERFORM set_config('quokkaq.institution', '*', true);
    RETURN QUERY
        SELECT c.outcome::text, c.reason::text FROM accounts_institution i CROSS JOIN LATERAL (
            SELECT m.outcome, m.reason, m.settled_at FROM ai_answers_modelcall m
            WHERE m.institution_id = i.id AND m.created_at >= since AND m.engine = of_engine AND m.model = of_model
                AND m.outcome NOT IN ('reserved', 'stopped')
            ORDER BY m.created_at DESC LIMIT most
        ) c ORDER BY c.settled_at DESC NULLS LAST LIMIT most;
    PERFORM set_config('quokkaq.institution', coalesce(before, ''), true);
END
$$;
CREATE FUNCTION ai_answers_fullest_budgets(
    of_day date, institution_cap bigint, course_cap bigint, most integer
)
    RETURNS TABLE (institution text, course text, used_micros bigint, cap_micros bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE before text := current_setting('quokkaq.institution', true);
BEGIN
    PERFORM set_config('quokkaq.institution', '*', true);
    RETURN QUERY
        SELECT found.* FROM (
            SELECT i.name::text, coalesce(c.slug, '')::text, s.spent_micros + s.reserved_micros AS used,
                CASE s.scope WHEN 'institution' THEN coalesce(house.daily_cap_micros, institution_cap)
                    ELSE coalesce(own.daily_cap_micros, house.course_daily_cap_micros, course_cap) END AS cap
            FROM ai_answers_spending s
            JOIN accounts_institution i ON i.id = s.institution_id
            LEFT JOIN ai_answers_institutionai house ON house.institution_id = s.institution_id
            LEFT JOIN accounts_course c ON s.scope = 'course' AND c.id = s.scope_id
            LEFT JOIN ai_answers_courseai own ON own.course_id = c.id
            WHERE s.day = of_day AND s.scope IN ('institution', 'course') AND s.spent_micros + s.reserved_micros > 0
        ) found ORDER BY found.used::float / greatest(found.cap, 1) DESC, found.used DESC LIMIT most;
    PERFORM set_config('quokkaq.institution', coalesce(before, ''), true);
END
$$;
"""
BACKWARD = """
DROP FUNCTION ai_answers_fullest_budgets(date, bigint, bigint, integer);
DROP FUNCTION ai_answers_last_calls(text, text, timestamptz, integer);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("ai_answers", "0009_imports_of_uploads"),
        ("accounts", "0011_sign_in"),
    ]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
