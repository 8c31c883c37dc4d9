"""What failed backups leave, and where the last good one lies."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("quokkaq", "0002_job_failure"),
    ]

    operations = [
        migrations.AddField(
            model_name="operation",
            name="error",
            field=models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            model_name="operation",
            name="failed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="operation",
            name="failures",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="operation",
            name="places",
            field=models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AlterField(
            model_name="operation",
            name="ended_at",
            field=models.DateTimeField(default=django.utils.timezone.now, null=True),
        ),
    ]
