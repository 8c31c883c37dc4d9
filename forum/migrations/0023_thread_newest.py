"""Threads of an institution, newest first, for admin."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0022_thread_private_unsettled")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="thread",
            index=models.Index(
                fields=["institution", "-created_at", "-id"],
                name="thread_newest",
            ),
        ),
    ]
