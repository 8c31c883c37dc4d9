"""How people come into a course: by invitation, by a code, by a file."""

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.base import Tenanted, one_of
from accounts.models.courses import Course, Role
from accounts.models.people import User
from accounts.querysets import InvitationQuerySet, JoinCodeQuerySet, RosterImportQuerySet

# How long an invitation can be accepted after it was sent.
INVITATION_LIFE = timedelta(days=14)
# How long what a roster file said is kept.
ROSTER_LIFE = timedelta(days=7)
# Letters and digits nobody takes for one another: no 0 and O, no 1, I and L.
CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
CODE_LENGTH = 8


class Invitation(Tenanted):
    """A place in a course that waits for somebody who has no account yet.

    Its link is mailed. The database knows the token's hash only; the token itself is made anew from the key of the
    site, the row's own key and `nonce`, so that no queue and no table holds it. A new nonce ends the old link.
    """

    course = models.ForeignKey(Course, models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=10, choices=Role, default=Role.STUDENT)
    section = models.CharField(max_length=40, blank=True)
    # What the institution's own records call the person; empty when nobody said.
    sis_id = models.CharField("SIS id", max_length=100, blank=True)
    nonce = models.CharField(max_length=32, editable=False)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    # Empty while the mail with the present link waits to be sent.
    last_sent_at = models.DateTimeField(null=True, blank=True)
    # Why the mail can't be delivered; empty while nothing is known against it.
    mail_problem = models.CharField(max_length=80, blank=True)
    accepted_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("role", Role, "invitation"),
            models.UniqueConstraint(
                fields=["course", "email"], condition=Q(accepted_at=None, revoked_at=None), name="invitation_once"
            ),
            models.CheckConstraint(condition=Q(accepted_at=None) | Q(revoked_at=None), name="invitation_has_one_end"),
        ]
        indexes = [models.Index(fields=["course", "-created_at", "-id"], name="invitation_listing")]

    def __str__(self) -> str:
        return f"{self.get_role_display()} of {self.course_id}"

    @property
    def is_open(self) -> bool:
        """True while it can be accepted."""
        return self.accepted_at is None and self.revoked_at is None and self.expires_at > timezone.now()


class JoinCode(Tenanted):
    """A code with which people of the institution become students of a course by themselves. One at a time."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="join_codes")
    code = models.CharField(max_length=CODE_LENGTH, unique=True, editable=False)
    section = models.CharField(max_length=40, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = JoinCodeQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["course"], condition=Q(revoked_at=None), name="join_code_one_at_a_time"),
            models.CheckConstraint(
                condition=Q(max_uses=None) | Q(uses__lte=F("max_uses")), name="join_code_used_as_often_as_allowed"
            ),
        ]

    def __str__(self) -> str:
        return f"Join code of {self.course_id}"

    @property
    def spelled(self) -> str:
        """The code in two halves, as it is read out."""
        half = CODE_LENGTH // 2
        return f"{self.code[:half]}-{self.code[half:]}"

    @property
    def problem(self) -> str:
        """Say why nobody can join with it now; empty when they can."""
        if self.revoked_at is not None:
            return "It is switched off."
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return "It has expired."
        if self.max_uses is not None and self.uses >= self.max_uses:
            return "It has been used as often as you allowed."
        return ""


class RosterState(models.TextChoices):
    READY = "ready", "Waiting to be applied"
    APPLIED = "applied", "Applied"
    DISCARDED = "discarded", "Discarded"
    EXPIRED = "expired", "Expired"


class RosterImport(Tenanted):
    """What a roster file says, kept until somebody applies exactly that, and no longer than `ROSTER_LIFE`.

    `content` is what `accounts.roster_files.Roster.as_json` makes; empty once it is no longer needed.
    """

    course = models.ForeignKey(Course, models.CASCADE, related_name="roster_imports")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=RosterState, default=RosterState.READY)
    file_names = models.CharField(max_length=400, blank=True)
    drop_missing = models.BooleanField("people who aren't in the file are dropped", default=False)
    content = models.JSONField(default=dict, blank=True)
    # How many rows it had, and how many people it changed in which way.
    counts = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    applied_at = models.DateTimeField(null=True, blank=True)
    applied_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")

    objects = RosterImportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("state", RosterState, "roster_import"),
            models.CheckConstraint(
                condition=Q(state="applied", applied_at__isnull=False) | (~Q(state="applied") & Q(applied_at=None)),
                name="roster_import_applied_at_a_time",
            ),
        ]
        indexes = [
            models.Index(fields=["course", "-created_at", "-id"], name="roster_import_listing"),
            models.Index(fields=["created_at"], condition=~Q(content={}), name="roster_import_kept"),
        ]

    def __str__(self) -> str:
        return f"Roster file of {self.course_id}"
