"""A question that changes in what is counted of it is noted. The functions are for other tables, too."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE FUNCTION forum_facts_are_due(institution uuid, thread uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO forum_factsdue (id, institution_id, thread_id, created_at)
    VALUES (gen_random_uuid(), institution, thread, now())
$$;
CREATE FUNCTION forum_note_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM forum_facts_are_due(NEW.institution_id, NEW.id);
    RETURN NULL;
END $$;
-- For tables with a thread_id.
CREATE FUNCTION forum_note_part_of_thread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        PERFORM forum_facts_are_due(NEW.institution_id, NEW.thread_id);
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND OLD.thread_id <> NEW.thread_id) THEN
        PERFORM forum_facts_are_due(OLD.institution_id, OLD.thread_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER forum_note_new_question AFTER INSERT ON forum_thread
    FOR EACH ROW WHEN (NEW.kind = 'question') EXECUTE FUNCTION forum_note_thread();
CREATE TRIGGER forum_note_thread AFTER UPDATE OF
    course_id, author_id, kind, status, moderation, deleted_at, merged_into_id, created_at, endorsement_count ON forum_thread
    FOR EACH ROW WHEN (
        (OLD.course_id, OLD.author_id, OLD.kind, OLD.status, OLD.moderation, OLD.deleted_at, OLD.merged_into_id,
            OLD.created_at, OLD.endorsement_count)
        IS DISTINCT FROM (NEW.course_id, NEW.author_id, NEW.kind, NEW.status, NEW.moderation, NEW.deleted_at,
            NEW.merged_into_id, NEW.created_at, NEW.endorsement_count)
    ) EXECUTE FUNCTION forum_note_thread();
"""

BACKWARD = """
DROP TRIGGER forum_note_thread ON forum_thread;
DROP TRIGGER forum_note_new_question ON forum_thread;
DROP FUNCTION forum_note_part_of_thread();
DROP FUNCTION forum_note_thread();
DROP FUNCTION forum_facts_are_due(uuid, uuid);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0015_facts")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
