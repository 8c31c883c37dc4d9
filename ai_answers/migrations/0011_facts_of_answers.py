"""A thread where a machine's answer appears, goes or is endorsed is noted: the insights count it."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE TRIGGER forum_note_machine AFTER INSERT OR DELETE ON ai_answers_answer
    FOR EACH ROW EXECUTE FUNCTION forum_note_part_of_thread();
CREATE TRIGGER forum_note_machines_change AFTER UPDATE OF thread_id, status, endorsement_count ON ai_answers_answer
    FOR EACH ROW WHEN (
        (OLD.thread_id, OLD.status, OLD.endorsement_count) IS DISTINCT FROM (NEW.thread_id, NEW.status, NEW.endorsement_count)
    ) EXECUTE FUNCTION forum_note_part_of_thread();
"""

BACKWARD = """
DROP TRIGGER forum_note_machines_change ON ai_answers_answer;
DROP TRIGGER forum_note_machine ON ai_answers_answer;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ai_answers", "0010_what_operators_see"), ("forum", "0017_facts_of_posts")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
