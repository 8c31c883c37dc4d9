"""`same_count` is kept by the database, like the other counters."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE FUNCTION forum_count_same_question() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    same record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    UPDATE forum_thread SET same_count = same_count + change WHERE id = same.thread_id;
    RETURN NULL;
END $$;
CREATE TRIGGER forum_count_same_question AFTER INSERT OR DELETE ON forum_samequestion
    FOR EACH ROW EXECUTE FUNCTION forum_count_same_question();
"""

BACKWARD = """
DROP TRIGGER forum_count_same_question ON forum_samequestion;
DROP FUNCTION forum_count_same_question();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0003_drafts_notes_mentions")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
