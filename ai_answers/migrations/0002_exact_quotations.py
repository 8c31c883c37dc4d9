"""What the database itself guarantees: versions never change, and a citation is exactly what its source says."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE FUNCTION ai_answers_keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the text of a material version never changes: add a version' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ai_answers_keep_version BEFORE UPDATE OF text ON ai_answers_materialversion
    FOR EACH ROW WHEN (NEW.text IS DISTINCT FROM OLD.text) EXECUTE FUNCTION ai_answers_keep_version();

CREATE FUNCTION ai_answers_exact_quotation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.quote IS DISTINCT FROM (
        SELECT substr(text, NEW.start + 1, NEW."end" - NEW.start) FROM ai_answers_materialversion WHERE id = NEW.version_id
    ) THEN
        RAISE EXCEPTION 'a citation must quote its source exactly' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ai_answers_exact_quotation BEFORE INSERT OR UPDATE OF quote, start, "end", version_id ON ai_answers_citation
    FOR EACH ROW EXECUTE FUNCTION ai_answers_exact_quotation();

CREATE FUNCTION ai_answers_count_endorsement() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    endorsement record := CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END;
    change integer := CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE -1 END;
    in_thread uuid;
BEGIN
    UPDATE ai_answers_answer SET endorsement_count = endorsement_count + change WHERE id = endorsement.answer_id
        RETURNING thread_id INTO in_thread;
    UPDATE forum_thread SET endorsement_count = endorsement_count + change WHERE id = in_thread;
    RETURN NULL;
END $$;
CREATE TRIGGER ai_answers_count_endorsement AFTER INSERT OR DELETE ON ai_answers_answerendorsement
    FOR EACH ROW EXECUTE FUNCTION ai_answers_count_endorsement();
"""

BACKWARD = """
DROP TRIGGER ai_answers_count_endorsement ON ai_answers_answerendorsement;
DROP TRIGGER ai_answers_exact_quotation ON ai_answers_citation;
DROP TRIGGER ai_answers_keep_version ON ai_answers_materialversion;
DROP FUNCTION ai_answers_count_endorsement();
DROP FUNCTION ai_answers_exact_quotation();
DROP FUNCTION ai_answers_keep_version();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ai_answers", "0001_initial")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
