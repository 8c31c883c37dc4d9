"""Who did what."""

from django.db import models
from django.utils import timezone

from accounts.models.base import Institution, InstitutionKey, Tenanted
from accounts.models.courses import Course
from accounts.models.people import User
from accounts.querysets import AuditEventQuerySet


class AuditEvent(Tenanted):
    """Who did what, when, from where. Rows are only ever added: a trigger refuses everything else (migration 0010).

    Its keys are kept as they were written, whatever becomes of the rows they name: no constraint follows them.
    `actor` is empty for what somebody did under a pseudonym: staff read this list. `network` and `agent` are then empty
    too, for another act from the same place may bear a name.
    """

    institution = InstitutionKey(Institution, models.DO_NOTHING, db_constraint=False, editable=False, related_name="+")
    actor = models.ForeignKey(User, models.DO_NOTHING, db_constraint=False, null=True, blank=True, related_name="+")
    course = models.ForeignKey(Course, models.DO_NOTHING, db_constraint=False, null=True, blank=True, related_name="+")
    verb = models.CharField(max_length=60)
    target_type = models.CharField(max_length=60)
    target_id = models.UUIDField()
    data = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    # A network, never an address: 192.0.2.0/24; `task` for what the server did by itself.
    network = models.CharField(max_length=43, blank=True)
    agent = models.CharField("browser", max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["course", "-created_at", "-id"], name="audit_by_course"),
            models.Index(fields=["target_id", "-created_at"], name="audit_by_target"),
            models.Index(fields=["actor", "-created_at", "-id"], name="audit_by_actor"),
            models.Index(fields=["institution", "created_at"], name="audit_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.target_type}"
