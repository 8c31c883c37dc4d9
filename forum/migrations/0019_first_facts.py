"""What there is already is noted, as far as the insights reach back; the task makes its facts, the oldest notes first."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
INSERT INTO forum_factsdue (id, institution_id, thread_id, created_at)
SELECT gen_random_uuid(), institution_id, id, now() FROM forum_thread
WHERE kind = 'question' AND last_activity_at > now() - interval '182 days'
"""

BACKWARD = """
DELETE FROM forum_questionfact;
DELETE FROM forum_answerfact;
DELETE FROM forum_factsdue;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0018_facts_of_tags")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
