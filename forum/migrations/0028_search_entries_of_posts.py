"""The index that leads from a post to its search entry leaves threads out, which the planner would else take it for."""

from typing import ClassVar

from django.db import migrations, models

from quokkaq.lib.database.operations import AddIndexConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0027_post_deleted")]
    operations: ClassVar = [
        AddIndexConcurrently(
            "searchentry",
            models.Index(condition=models.Q(post__isnull=False), fields=["post"], name="search_entry_by_post"),
        )
    ]
