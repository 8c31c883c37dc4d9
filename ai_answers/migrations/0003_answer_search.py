"""Answers can be searched: by their words and those of their quotations, which the database keeps together."""

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations

FORWARD = """
CREATE FUNCTION ai_answers_index_answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.search := to_tsvector('english', NEW.body || ' ' || coalesce(
        (SELECT string_agg(quote, ' ' ORDER BY number) FROM ai_answers_citation WHERE answer_id = NEW.id), ''
    ));
    RETURN NEW;
END $$;
CREATE TRIGGER ai_answers_index_answer BEFORE INSERT OR UPDATE ON ai_answers_answer
    FOR EACH ROW EXECUTE FUNCTION ai_answers_index_answer();

CREATE FUNCTION ai_answers_index_citation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ai_answers_answer SET body = body WHERE id = coalesce(NEW.answer_id, OLD.answer_id);
    RETURN NULL;
END $$;
CREATE TRIGGER ai_answers_index_citation AFTER INSERT OR UPDATE OF quote OR DELETE ON ai_answers_citation
    FOR EACH ROW EXECUTE FUNCTION ai_answers_index_citation();

-- What is there already.
UPDATE ai_answers_answer SET body = body;
"""

BACKWARD = """
DROP TRIGGER ai_answers_index_citation ON ai_answers_citation;
DROP TRIGGER ai_answers_index_answer ON ai_answers_answer;
DROP FUNCTION ai_answers_index_citation();
DROP FUNCTION ai_answers_index_answer();
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("ai_answers", "0002_exact_quotations")]

    operations: ClassVar = [
        migrations.AddField(model_name="answer", name="search", field=SearchVectorField(editable=False, null=True)),
        migrations.AddIndex(model_name="answer", index=GinIndex(fields=["search"], name="answer_search")),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
