"""A thread counts what can be read in it: not what waits for approval or is hidden. A reply that moves moves its counts."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE OR REPLACE FUNCTION forum_count_post() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counted integer := 0;
    counts integer := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        counted := (OLD.deleted_at IS NULL AND OLD.moderation = 'shown')::int;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        counts := (NEW.deleted_at IS NULL AND NEW.moderation = 'shown')::int;
    END IF;
    IF TG_OP = 'INSERT' THEN
        UPDATE forum_thread
        SET reply_count = reply_count + counts,
            last_activity_at = CASE WHEN counts = 1 THEN greatest(last_activity_at, NEW.created_at) ELSE last_activity_at END
        WHERE id = NEW.thread_id;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE forum_thread SET reply_count = reply_count - counted WHERE id = OLD.thread_id;
    ELSIF NEW.thread_id <> OLD.thread_id THEN
        UPDATE forum_thread
        SET reply_count = reply_count - counted, endorsement_count = endorsement_count - counted * OLD.endorsement_count
        WHERE id = OLD.thread_id;
        UPDATE forum_thread
        SET reply_count = reply_count + counts, endorsement_count = endorsement_count + counts * NEW.endorsement_count,
            last_activity_at = CASE WHEN counts = 1 THEN greatest(last_activity_at, NEW.created_at) ELSE last_activity_at END
        WHERE id = NEW.thread_id;
    ELSIF counts <> counted THEN
        UPDATE forum_thread
        SET reply_count = reply_count + counts - counted,
            endorsement_count = endorsement_count + (counts - counted) * NEW.endorsement_count,
            last_activity_at = CASE
                WHEN OLD.moderation = 'pending' AND counts = 1 THEN greatest(last_activity_at, now())
                ELSE last_activity_at
            END
        WHERE id = NEW.thread_id;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER forum_count_post ON forum_post;
CREATE TRIGGER forum_count_post AFTER INSERT OR DELETE OR UPDATE OF deleted_at, moderation, thread_id ON forum_post
    FOR EACH ROW EXECUTE FUNCTION forum_count_post();

CREATE OR REPLACE FUNCTION forum_count_endorsement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    endorsement record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    live boolean;
    in_thread uuid;
BEGIN
    UPDATE forum_post SET endorsement_count = endorsement_count + change WHERE id = endorsement.post_id
        RETURNING thread_id, deleted_at IS NULL AND moderation = 'shown' INTO in_thread, live;
    -- A thread counts the endorsements of what can be read in it.
    IF live THEN
        UPDATE forum_thread SET endorsement_count = endorsement_count + change WHERE id = in_thread;
    END IF;
    RETURN NULL;
END $$;
"""

BACKWARD = """
DROP TRIGGER forum_count_post ON forum_post;
CREATE OR REPLACE FUNCTION forum_count_post() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE OR REPLACE FUNCTION forum_count_endorsement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    endorsement record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    live boolean;
    in_thread uuid;
BEGIN
    UPDATE forum_post SET endorsement_count = endorsement_count + change WHERE id = endorsement.post_id
        RETURNING thread_id, deleted_at IS NULL INTO in_thread, live;
    IF live THEN
        UPDATE forum_thread SET endorsement_count = endorsement_count + change WHERE id = in_thread;
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0007_notifications_moderation_assignments")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
