"""Search: an index of threads alone, and the parts of `list.append`, `a/b` and `List<int>` are words of their own."""

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.db import migrations
from django.db.models import Q

FORWARD = """
-- PostgreSQL's parser takes names with dots and slashes for hosts and files, and <…> for a tag, each as one word.
CREATE OR REPLACE FUNCTION forum_words(content text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_tsvector('english', translate(content, './<>', '    '));

CREATE OR REPLACE FUNCTION forum_index_thread() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place tsvector := array_to_tsvector(ARRAY['crs:' || replace(NEW.course_id::text, '-', '')]);
BEGIN
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    VALUES (
        gen_random_uuid(), NEW.institution_id, NEW.id, NULL,
        setweight(forum_words(NEW.title), 'A') || setweight(forum_words(NEW.body), 'B') || place
    )
    ON CONFLICT (thread_id, post_id) DO UPDATE SET vector = EXCLUDED.vector;
    IF TG_OP = 'UPDATE' AND NEW.course_id <> OLD.course_id THEN
        UPDATE forum_searchentry e
        SET vector = setweight(forum_words(p.body), 'C') || place
        FROM forum_post p WHERE p.id = e.post_id AND e.thread_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION forum_index_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.thread_id <> OLD.thread_id THEN
        DELETE FROM forum_searchentry WHERE post_id = NEW.id;
    END IF;
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    SELECT
        gen_random_uuid(), NEW.institution_id, t.id, NEW.id,
        setweight(forum_words(NEW.body), 'C')
            || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
    FROM forum_thread t WHERE t.id = NEW.thread_id
    ON CONFLICT (thread_id, post_id) DO UPDATE SET vector = EXCLUDED.vector;
    RETURN NULL;
END $$;

-- What is there already.
UPDATE forum_searchentry e
SET vector = setweight(forum_words(t.title), 'A') || setweight(forum_words(t.body), 'B')
    || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
FROM forum_thread t WHERE t.id = e.thread_id AND e.post_id IS NULL;
UPDATE forum_searchentry e
SET vector = setweight(forum_words(p.body), 'C')
    || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id WHERE p.id = e.post_id;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0008_count_what_is_shown")]

    operations: ClassVar = [
        # Going back leaves the functions as they are: what they write can be searched all the same.
        migrations.RunSQL(FORWARD, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="searchentry",
            index=GinIndex(condition=Q(post=None), fields=["vector"], name="search_thread_words"),
        ),
    ]
