"""A reply that comes, goes, or changes in what is counted of it is noted. Comments aren't counted."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE TRIGGER forum_note_new_answer AFTER INSERT ON forum_post
    FOR EACH ROW WHEN (NEW.parent_id IS NULL) EXECUTE FUNCTION forum_note_part_of_thread();
CREATE TRIGGER forum_note_lost_answer AFTER DELETE ON forum_post
    FOR EACH ROW WHEN (OLD.parent_id IS NULL) EXECUTE FUNCTION forum_note_part_of_thread();
CREATE TRIGGER forum_note_answer AFTER UPDATE OF
    thread_id, parent_id, author_id, anonymity, moderation, deleted_at, created_at, is_by_staff, endorsement_count ON forum_post
    FOR EACH ROW WHEN (
        (OLD.thread_id, OLD.parent_id, OLD.author_id, OLD.anonymity, OLD.moderation, OLD.deleted_at, OLD.created_at,
            OLD.is_by_staff, OLD.endorsement_count)
        IS DISTINCT FROM (NEW.thread_id, NEW.parent_id, NEW.author_id, NEW.anonymity, NEW.moderation, NEW.deleted_at,
            NEW.created_at, NEW.is_by_staff, NEW.endorsement_count)
    ) EXECUTE FUNCTION forum_note_part_of_thread();
"""

BACKWARD = """
DROP TRIGGER forum_note_answer ON forum_post;
DROP TRIGGER forum_note_lost_answer ON forum_post;
DROP TRIGGER forum_note_new_answer ON forum_post;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0016_facts_of_threads")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
