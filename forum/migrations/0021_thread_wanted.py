"""Open questions that several people have."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0020_thread_unanswered")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="thread",
            index=models.Index(
                fields=["course", "-same_count", "id"],
                condition=models.Q(
                    ("deleted_at", None),
                    ("merged_into", None),
                    ("kind", "question"),
                    ("moderation", "shown"),
                    ("status", "open"),
                    ("duplicate_of", None),
                    ("same_count__gt", 0),
                ),
                name="thread_wanted",
            ),
        ),
    ]
