"""Deleted threads of an institution, for a filter of admin."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0025_thread_locked")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="thread",
            index=models.Index(
                fields=["institution", "-created_at", "-id"],
                condition=models.Q(("deleted_at__isnull", False)),
                name="thread_deleted",
            ),
        ),
    ]
