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


class RestoreDrill(models.Model):
    """One rehearsal of restoring a backup: what was restored, how long each step took, and what was wrong.

    It holds names of tables and steps, never what people wrote. A row without an end is of a drill that runs, or died.
    """

    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    succeeded = models.BooleanField(default=False)
    place = models.CharField(max_length=40, blank=True)
    backup = models.CharField(max_length=200, blank=True)
    taken_at = models.DateTimeField("what the backup shows", null=True)
    size = models.PositiveBigIntegerField("size in bytes", null=True)
    rows = models.PositiveBigIntegerField(null=True)
    # [{"name": …, "seconds": …}], in order; the last one is where a drill that failed ended.
    steps = models.JSONField(default=list)
    differences = models.JSONField(default=list)
    problem = models.CharField(max_length=300, blank=True)  # scrubbed

    class Meta:
        ordering = ["-started_at", "-id"]
        indexes = [models.Index(fields=["-started_at", "-id"], name="restore_drill_newest")]
        constraints = [
            models.CheckConstraint(
                condition=Q(succeeded=False) | Q(ended_at__isnull=False, problem=""),
                name="restore_drill_succeeds_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"Restore drill of {self.started_at:%Y-%m-%d %H:%M}"

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, and for one that died."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


class JobFailure(models.Model):
    """Why a job failed last, without anything people wrote. The database deletes it with its job."""

    job_id = models.BigIntegerField(primary_key=True)
    error = models.CharField(max_length=100)  # the exception's class
    text = models.CharField(max_length=300)  # what it said, scrubbed
    place = models.CharField(max_length=200)  # file and line, or empty
    failed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.error} in job {self.job_id}"
