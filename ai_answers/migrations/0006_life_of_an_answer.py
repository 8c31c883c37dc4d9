"""What the database itself guarantees of answers: no status but those that may follow, counts that fit, ledgers that stay."""

from typing import ClassVar

from django.db import migrations

# The same pairs as `ai_answers.models.answers.NEXT` (a test compares them).
NEXT = {
    "queued": ("generating", "failed", "superseded"),
    "generating": ("queued", "draft", "published", "abstained", "failed", "superseded"),
    "draft": ("published", "endorsed", "edited", "withdrawn", "superseded"),
    "published": ("endorsed", "edited", "withdrawn", "superseded"),
    "endorsed": ("published", "edited", "withdrawn", "superseded"),
    "edited": ("endorsed", "withdrawn", "superseded"),
    "abstained": ("queued", "superseded"),
    "failed": ("queued", "superseded"),
    "withdrawn": ("superseded",),
}
PAIRS = ", ".join(f"('{before}', '{after}')" for before, followers in NEXT.items() for after in followers)

FORWARD = f"""
UPDATE ai_answers_answer SET status = 'endorsed' WHERE status = 'published' AND endorsement_count > 0;

CREATE FUNCTION ai_answers_next_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) NOT IN ({PAIRS}) THEN
        RAISE EXCEPTION 'an answer that is % can''t become %', OLD.status, NEW.status USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ai_answers_next_status BEFORE UPDATE OF status ON ai_answers_answer
    FOR EACH ROW WHEN (NEW.status <> OLD.status) EXECUTE FUNCTION ai_answers_next_status();

CREATE FUNCTION ai_answers_count_feedback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE ai_answers_answer SET helpful_count = helpful_count - (OLD.is_helpful IS TRUE)::int,
            unhelpful_count = unhelpful_count - (OLD.is_helpful IS FALSE)::int WHERE id = OLD.answer_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE ai_answers_answer SET helpful_count = helpful_count + (NEW.is_helpful IS TRUE)::int,
            unhelpful_count = unhelpful_count + (NEW.is_helpful IS FALSE)::int WHERE id = NEW.answer_id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ai_answers_count_feedback AFTER INSERT OR DELETE OR UPDATE OF is_helpful, answer_id
    ON ai_answers_answerfeedback FOR EACH ROW EXECUTE FUNCTION ai_answers_count_feedback();
"""  # noqa: S608 (the pairs stand above)

BACKWARD = """
DROP TRIGGER ai_answers_count_feedback ON ai_answers_answerfeedback;
DROP TRIGGER ai_answers_next_status ON ai_answers_answer;
DROP FUNCTION ai_answers_count_feedback();
DROP FUNCTION ai_answers_next_status();
-- Before, there was no word for an answer that isn't shown: showing it would be worse than losing it.
CREATE TEMP TABLE unshown ON COMMIT DROP AS
    SELECT id FROM ai_answers_answer WHERE status IN ('draft', 'withdrawn', 'superseded');
DELETE FROM ai_answers_citation WHERE answer_id IN (SELECT id FROM unshown);
DELETE FROM ai_answers_answerendorsement WHERE answer_id IN (SELECT id FROM unshown);
DELETE FROM ai_answers_answerfeedback WHERE answer_id IN (SELECT id FROM unshown);
UPDATE ai_answers_evaluationcase SET answer_id = NULL WHERE answer_id IN (SELECT id FROM unshown);
UPDATE ai_answers_modelcall SET answer_id = NULL WHERE answer_id IN (SELECT id FROM unshown);
DELETE FROM ai_answers_answer WHERE id IN (SELECT id FROM unshown);
UPDATE ai_answers_answer SET status = 'published' WHERE status IN ('endorsed', 'edited');
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ai_answers", "0005_trusted_answers")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
