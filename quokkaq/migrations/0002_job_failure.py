"""Why a job failed last. It goes with its job, which the task engine deletes by itself."""

from typing import ClassVar

from django.db import migrations, models

GOES_WITH_ITS_JOB = """
ALTER TABLE quokkaq_jobfailure ADD CONSTRAINT job_failure_of_job
    FOREIGN KEY (job_id) REFERENCES procrastinate_jobs (id) ON DELETE CASCADE
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [
        ("quokkaq", "0001_metrics"),
        ("procrastinate", "0041_post_retry_failed_job"),
    ]

    operations: ClassVar = [
        migrations.CreateModel(
            name="JobFailure",
            fields=[
                ("job_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("error", models.CharField(max_length=100)),
                ("text", models.CharField(max_length=300)),
                ("place", models.CharField(max_length=200)),
                ("failed_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(GOES_WITH_ITS_JOB, "ALTER TABLE quokkaq_jobfailure DROP CONSTRAINT job_failure_of_job"),
    ]
