"""A question that gets or loses a tag is noted."""

from typing import ClassVar

from django.db import migrations

FORWARD = """
CREATE TRIGGER forum_note_tag AFTER INSERT OR UPDATE OR DELETE ON forum_threadtag
    FOR EACH ROW EXECUTE FUNCTION forum_note_part_of_thread();
"""

BACKWARD = """
DROP TRIGGER forum_note_tag ON forum_threadtag;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0017_facts_of_posts")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
