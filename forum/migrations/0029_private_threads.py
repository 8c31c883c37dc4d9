"""The few private threads of a large course are found without walking through all the others."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0028_search_entries_of_posts")]
    operations: ClassVar = [
        AddIndexConcurrently(
            "thread",
            models.Index(
                condition=models.Q(deleted_at=None, visibility="staff"),
                fields=["course", "-last_activity_at", "-id"],
                name="thread_private",
            ),
        )
    ]
