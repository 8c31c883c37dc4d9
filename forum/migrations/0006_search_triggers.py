"""Search entries are kept by the database, in the transaction that changes the text they are made from."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE FUNCTION forum_index_thread() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place tsvector := array_to_tsvector(ARRAY['crs:' || replace(NEW.course_id::text, '-', '')]);
BEGIN
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    VALUES (
        gen_random_uuid(), NEW.institution_id, NEW.id, NULL,
        setweight(to_tsvector('english', NEW.title), 'A') || setweight(to_tsvector('english', NEW.body), 'B') || place
    )
    ON CONFLICT (thread_id, post_id) DO UPDATE SET vector = EXCLUDED.vector;
    IF TG_OP = 'UPDATE' AND NEW.course_id <> OLD.course_id THEN
        UPDATE forum_searchentry e
        SET vector = setweight(to_tsvector('english', p.body), 'C') || place
        FROM forum_post p WHERE p.id = e.post_id AND e.thread_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_index_thread AFTER INSERT OR UPDATE OF title, body, course_id ON forum_thread
    FOR EACH ROW EXECUTE FUNCTION forum_index_thread();

CREATE FUNCTION forum_index_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.thread_id <> OLD.thread_id THEN
        DELETE FROM forum_searchentry WHERE post_id = NEW.id;
    END IF;
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    SELECT
        gen_random_uuid(), NEW.institution_id, t.id, NEW.id,
        setweight(to_tsvector('english', NEW.body), 'C')
            || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
    FROM forum_thread t WHERE t.id = NEW.thread_id
    ON CONFLICT (thread_id, post_id) DO UPDATE SET vector = EXCLUDED.vector;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_index_post AFTER INSERT OR UPDATE OF body, thread_id ON forum_post
    FOR EACH ROW EXECUTE FUNCTION forum_index_post();

-- What is there already.
UPDATE forum_thread SET title = title;
UPDATE forum_post SET body = body;
"""

BACKWARD = """
DROP TRIGGER forum_index_post ON forum_post;
DROP TRIGGER forum_index_thread ON forum_thread;
DROP FUNCTION forum_index_post();
DROP FUNCTION forum_index_thread();
DELETE FROM forum_searchentry;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0005_search")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
