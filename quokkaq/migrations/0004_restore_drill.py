"""What each rehearsal of restoring found."""

from typing import ClassVar

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("quokkaq", "0003_backups")]

    operations: ClassVar = [
        migrations.CreateModel(
            name="RestoreDrill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("ended_at", models.DateTimeField(null=True)),
                ("succeeded", models.BooleanField(default=False)),
                ("place", models.CharField(blank=True, max_length=40)),
                ("backup", models.CharField(blank=True, max_length=200)),
                ("taken_at", models.DateTimeField(null=True, verbose_name="what the backup shows")),
                ("size", models.PositiveBigIntegerField(null=True, verbose_name="size in bytes")),
                ("rows", models.PositiveBigIntegerField(null=True)),
                ("steps", models.JSONField(default=list)),
                ("differences", models.JSONField(default=list)),
                ("problem", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "ordering": ["-started_at", "-id"],
                "indexes": [models.Index(fields=["-started_at", "-id"], name="restore_drill_newest")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("succeeded", False),
                            models.Q(("ended_at__isnull", False), ("problem", "")),
                            _connector="OR",
                        ),
                        name="restore_drill_succeeds_whole",
                    )
                ],
            },
        ),
    ]
