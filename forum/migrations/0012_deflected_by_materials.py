"""A question may also be spared by what the materials say, without any thread."""

from typing import Any, ClassVar

import django.db.models.deletion
from django.db import migrations, models


def forget_those_without_thread(apps: Any, schema_editor: Any) -> None:
    apps.get_model("forum", "Deflection").objects.filter(thread=None).delete()


class Migration(migrations.Migration):
    dependencies: ClassVar = [("forum", "0011_ai_withdrawn")]
    operations: ClassVar = [
        migrations.RunPython(migrations.RunPython.noop, forget_those_without_thread),
        migrations.AlterField(
            model_name="deflection",
            name="thread",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="deflections",
                to="forum.thread",
            ),
        ),
    ]
