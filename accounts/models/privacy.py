"""What people ask for about their own data: a copy, an end, and what they agreed to."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.base import Institution, Tenanted, one_of
from accounts.models.people import User
from accounts.models.uploads import UNATTACHED_LIFE, Upload
from accounts.querysets import ConsentQuerySet, DataExportQuerySet, ErasureQuerySet

# A copy is kept as long as any file that is attached to nothing.
EXPORT_LIFE = UNATTACHED_LIFE
EXPORTS_PER_DAY = 3
# How long somebody who wants to be erased may change their mind.
ERASURE_WAIT = timedelta(days=7)


class ExportState(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being put together"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"
    EXPIRED = "expired", "Gone"


EXPORT_UNDER_WAY = (ExportState.QUEUED, ExportState.RUNNING)


class DataExport(Tenanted):
    """A copy of what is kept about one person, for them: `queued → running → ready | failed`, then `expired`.

    `done` of `total` parts are written. `touched_at` is the last sign of life: a row that is quiet for long has lost its task.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=ExportState, default=ExportState.QUEUED)
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    upload = models.OneToOneField(Upload, models.SET_NULL, null=True, blank=True, related_name="data_export")
    # The class of the last error, never its text.
    error_code = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    touched_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    objects = DataExportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("state", ExportState, "data_export"),
            models.UniqueConstraint(
                fields=["user"], condition=Q(state__in=("queued", "running")), name="data_export_one_at_a_time"
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="data_export_by_user"),
            models.Index(
                fields=["touched_at"], condition=Q(state__in=("queued", "running")), name="data_export_under_way"
            ),
        ]

    def __str__(self) -> str:
        return f"Copy {str(self.pk)[-6:]}"

    @property
    def is_under_way(self) -> bool:
        return self.state in EXPORT_UNDER_WAY


class ErasureState(models.TextChoices):
    SCHEDULED = "scheduled", "Scheduled"
    RUNNING = "running", "Under way"
    DONE = "done", "Done"
    CANCELLED = "cancelled", "Cancelled"


ERASURE_OPEN = (ErasureState.SCHEDULED, ErasureState.RUNNING)


class Erasure(Tenanted):
    """Somebody's account is to go at `due_at`. Once it runs there is no way back; cut off anywhere, it is run again.

    `requested_by` is the person or an administrator; `obstacle` says why it waits although it is due.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="erasures")
    requested_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=ErasureState, default=ErasureState.SCHEDULED)
    obstacle = models.CharField(max_length=300, blank=True)
    requested_at = models.DateTimeField(default=timezone.now, editable=False)
    due_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-id"]
        constraints = [
            one_of("state", ErasureState, "erasure"),
            models.UniqueConstraint(
                fields=["user"], condition=Q(state__in=("scheduled", "running")), name="erasure_one_at_a_time"
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state__in=("scheduled", "running")), name="erasure_open"),
        ]

    def __str__(self) -> str:
        return f"Erasure {str(self.pk)[-6:]}"


class ConsentKind(models.TextChoices):
    AI = "ai", "My texts may go to a model outside this server"


class Consent(Tenanted):
    """Somebody agreed to a text, or took it back. Rows are only ever added: a trigger refuses everything else."""

    institution = models.ForeignKey(
        Institution, models.DO_NOTHING, db_constraint=False, editable=False, related_name="+"
    )
    user = models.ForeignKey(User, models.DO_NOTHING, db_constraint=False, related_name="consents")
    kind = models.CharField(max_length=20, choices=ConsentKind)
    # Which wording they were shown.
    version = models.CharField(max_length=20)
    is_given = models.BooleanField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ConsentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [one_of("kind", ConsentKind, "consent")]
        indexes = [models.Index(fields=["user", "-created_at", "-id"], name="consent_by_user")]

    def __str__(self) -> str:
        return f"{self.kind} {'given' if self.is_given else 'withdrawn'}"
