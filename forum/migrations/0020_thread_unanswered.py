"""Open questions, by age."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0019_first_facts")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="thread",
            index=models.Index(
                fields=["course", "created_at", "id"],
                include=("institution", "duplicate_of"),
                condition=models.Q(
                    ("deleted_at", None),
                    ("merged_into", None),
                    ("kind", "question"),
                    ("moderation", "shown"),
                    ("status", "open"),
                ),
                name="thread_unanswered",
            ),
        ),
    ]
