"""Private threads that aren't settled."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0021_thread_wanted")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="thread",
            index=models.Index(
                fields=["course", "created_at", "id"],
                condition=models.Q(
                    ("deleted_at", None),
                    ("merged_into", None),
                    ("duplicate_of", None),
                    ("visibility", "staff"),
                    models.Q(("status", "resolved"), _negated=True),
                ),
                name="thread_private_unsettled",
            ),
        ),
    ]
