"""What belongs to the installation itself, and to no institution."""

from django.db import models
from django.db.models import Q
from django.utils import timezone


class OperationName(models.TextChoices):
    BACKUP_DATABASE = "backup-database", "Backup of the database"
    BACKUP_MEDIA = "backup-media", "Backup of the files"
    RESTORE_DRILL = "restore-drill", "Restore drill"


class Operation(models.Model):
    """When something operators do regularly was done last. Metrics and alerts go by it, wherever the backups lie.

    Of backups `ended_at` and `size` tell of the last good one, which was verified then, and `places` where it lies;
    `failed_at`, `failures` and `error` tell of what failed since.
    """

    name = models.CharField(max_length=40, primary_key=True, choices=OperationName)
    # Nothing: it never succeeded.
    ended_at = models.DateTimeField(default=timezone.now, null=True)
    succeeded = models.BooleanField(default=True)
    size = models.PositiveBigIntegerField("size in bytes", null=True)
    places = models.CharField(max_length=40, blank=True, default="", db_default="")
    failed_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, db_default=0)
    error = models.CharField(max_length=300, blank=True, default="", db_default="")

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(name__in=OperationName.values), name="operation_name_known"),
        ]

    def __str__(self) -> str:
        return self.get_name_display()


class JobFailure(models.Model):
    """Why a job failed last, without anything people wrote. The database deletes it with its job."""

    job_id = models.BigIntegerField(primary_key=True)
    error = models.CharField(max_length=100)  # the exception's class
    text = models.CharField(max_length=300)  # what it said, scrubbed
    place = models.CharField(max_length=200)  # file and line, or empty
    failed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.error} in job {self.job_id}"
