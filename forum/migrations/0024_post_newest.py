"""Posts of an institution, newest first, for admin."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0023_thread_newest")]
    operations: ClassVar = [
        AddIndexConcurrently(
            model_name="post",
            index=models.Index(
                fields=["institution", "-created_at", "-id"],
                name="post_newest",
            ),
        ),
    ]
