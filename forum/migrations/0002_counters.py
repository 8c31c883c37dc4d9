"""Counters kept by the database, in the transaction that changes what they count (`manage.py check_counters` proves it)."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE FUNCTION forum_count_post() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change integer := 0;
BEGIN
    IF TG_OP = 'INSERT' THEN
        change := (NEW.deleted_at IS NULL)::int;
        UPDATE forum_thread
        SET reply_count = reply_count + change, last_activity_at = greatest(last_activity_at, NEW.created_at)
        WHERE id = NEW.thread_id;
    ELSIF TG_OP = 'UPDATE' THEN
        change := (NEW.deleted_at IS NULL)::int - (OLD.deleted_at IS NULL)::int;
        IF change <> 0 THEN
            UPDATE forum_thread
            SET reply_count = reply_count + change, endorsement_count = endorsement_count + change * NEW.endorsement_count
            WHERE id = NEW.thread_id;
        END IF;
    ELSE
        UPDATE forum_thread SET reply_count = reply_count - (OLD.deleted_at IS NULL)::int WHERE id = OLD.thread_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_count_post AFTER INSERT OR DELETE OR UPDATE OF deleted_at ON forum_post
    FOR EACH ROW EXECUTE FUNCTION forum_count_post();

CREATE FUNCTION forum_count_vote() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    vote record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    IF vote.thread_id IS NOT NULL THEN
        UPDATE forum_thread SET vote_count = vote_count + change WHERE id = vote.thread_id;
    ELSE
        UPDATE forum_post SET vote_count = vote_count + change WHERE id = vote.post_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_count_vote AFTER INSERT OR DELETE ON forum_vote
    FOR EACH ROW EXECUTE FUNCTION forum_count_vote();

CREATE FUNCTION forum_count_endorsement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    endorsement record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    live boolean;
    in_thread uuid;
BEGIN
    UPDATE forum_post SET endorsement_count = endorsement_count + change WHERE id = endorsement.post_id
        RETURNING thread_id, deleted_at IS NULL INTO in_thread, live;
    -- A thread counts the endorsements of what can be read in it.
    IF live THEN
        UPDATE forum_thread SET endorsement_count = endorsement_count + change WHERE id = in_thread;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_count_endorsement AFTER INSERT OR DELETE ON forum_endorsement
    FOR EACH ROW EXECUTE FUNCTION forum_count_endorsement();
"""

BACKWARD = """
DROP TRIGGER forum_count_endorsement ON forum_endorsement;
DROP TRIGGER forum_count_vote ON forum_vote;
DROP TRIGGER forum_count_post ON forum_post;
DROP FUNCTION forum_count_endorsement();
DROP FUNCTION forum_count_vote();
DROP FUNCTION forum_count_post();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0001_initial")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
