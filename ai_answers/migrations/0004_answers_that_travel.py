"""An answer may go to another thread: two can swap theirs in one statement, and a thread counts what it holds."""

from typing import ClassVar

from django.db import migrations, models

FORWARD = """
CREATE FUNCTION ai_answers_move_endorsements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE forum_thread SET endorsement_count = endorsement_count - OLD.endorsement_count WHERE id = OLD.thread_id;
    UPDATE forum_thread SET endorsement_count = endorsement_count + NEW.endorsement_count WHERE id = NEW.thread_id;
    RETURN NULL;
END $$;
CREATE TRIGGER ai_answers_move_endorsements AFTER UPDATE OF thread_id ON ai_answers_answer
    FOR EACH ROW WHEN (NEW.thread_id <> OLD.thread_id) EXECUTE FUNCTION ai_answers_move_endorsements();
"""

BACKWARD = """
DROP TRIGGER ai_answers_move_endorsements ON ai_answers_answer;
DROP FUNCTION ai_answers_move_endorsements();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ai_answers", "0003_answer_search")]
    operations: ClassVar = [
        migrations.RemoveConstraint(model_name="answer", name="answer_one_per_thread"),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.UniqueConstraint(
                deferrable=models.Deferrable.IMMEDIATE, fields=("thread",), name="answer_one_per_thread"
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
