"""Learning platforms (Canvas, Moodle, …) that launch QuokkaQ by LTI 1.3, and what is known from them."""

from datetime import timedelta

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.base import Tenanted, one_of
from accounts.models.courses import Course
from accounts.models.people import User
from accounts.querysets import LtiContextQuerySet, LtiPlatformQuerySet, LtiSyncQuerySet

# How long somebody may take from the platform's link to the launch, and from there over a page of ours.
LAUNCH_LIFE = timedelta(minutes=10)
# How long a key that signs no more stays published: platforms cache ours.
OLD_KEY_LIFE = timedelta(days=30)
SYNC_LIFE = timedelta(days=1)
_ADDRESS = RegexValidator(r"\Ahttps?://[^\s@]+\Z", "Give a whole address that begins with https://")


class LtiKey(Tenanted):
    """A key pair with which QuokkaQ signs what it sends to an institution's platforms."""

    # The private key (PEM), sealed with a key derived from SECRET_KEY.
    sealed = models.TextField(editable=False)
    public_key = models.TextField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Signs no more since then.
    retired_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["institution"], condition=Q(retired_at=None), name="lti_key_one_signs")
        ]

    def __str__(self) -> str:
        return f"LTI key {self.pk}"


class LtiPlatform(Tenanted):
    """A registration of QuokkaQ at a learning platform."""

    name = models.CharField(max_length=100)
    issuer = models.CharField("issuer (iss)", max_length=255)
    client_id = models.CharField("client ID", max_length=255)
    authorization_url = models.CharField("authorisation URL", max_length=500, validators=[_ADDRESS])
    token_url = models.CharField("token URL", max_length=500, validators=[_ADDRESS])
    jwks_url = models.CharField("key set URL (JWKS)", max_length=500, validators=[_ADDRESS])
    is_active = models.BooleanField("people may come from it", default=True)
    # A deployment that a properly signed launch named and that isn't registered: shown to who may add it.
    refused_deployment = models.CharField(max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = LtiPlatformQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["issuer", "client_id"], name="lti_platform_unique")]

    def __str__(self) -> str:
        return self.name


class LtiDeployment(Tenanted):
    """Where a platform has put QuokkaQ to use: launches from elsewhere on the platform are refused."""

    platform = models.ForeignKey(LtiPlatform, models.CASCADE, related_name="deployments")
    deployment_id = models.CharField("deployment ID", max_length=255)

    class Meta:
        ordering = ["deployment_id"]
        constraints = [models.UniqueConstraint(fields=["platform", "deployment_id"], name="lti_deployment_unique")]

    def __str__(self) -> str:
        return self.deployment_id


class LtiContext(Tenanted):
    """A course on the platform, and the course here that it is."""

    deployment = models.ForeignKey(LtiDeployment, models.CASCADE, related_name="contexts")
    context_id = models.CharField(max_length=255)
    course = models.ForeignKey(Course, models.CASCADE, related_name="lti_contexts")
    title = models.CharField(max_length=200, blank=True)
    # The names-and-roles service of this context; empty where the platform offers none.
    memberships_url = models.CharField(max_length=1000, blank=True)
    linked_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = LtiContextQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["deployment", "context_id"], name="lti_context_unique")]

    def __str__(self) -> str:
        return self.title or self.context_id


class LtiIdentity(Tenanted):
    """Who somebody on the platform is here. Made once, and never pointed at somebody else."""

    platform = models.ForeignKey(LtiPlatform, models.CASCADE, related_name="identities")
    sub = models.CharField("subject (sub)", max_length=255)
    user = models.ForeignKey(User, models.CASCADE, related_name="lti_identities")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["platform", "sub"], name="lti_identity_unique"),
            models.UniqueConstraint(fields=["platform", "user"], name="lti_identity_one_per_person"),
        ]

    def __str__(self) -> str:
        return f"identity {self.pk}"


class LtiLaunch(Tenanted):
    """One way from a platform to here: the state between its steps. Hashes only; each step happens once."""

    platform = models.ForeignKey(LtiPlatform, models.CASCADE, related_name="launches")
    state_hash = models.CharField(max_length=64, unique=True)
    nonce_hash = models.CharField(max_length=64)
    # Of the cookie that ties all steps to one browser.
    browser_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    # When its token was taken, valid or not.
    used_at = models.DateTimeField(null=True)
    # What the platform said, once checked; of use for a few minutes.
    claims = models.JSONField(default=dict)
    # Whose account has the launch's e-mail address; signs in to be connected.
    candidate = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")
    # Who came in by it.
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["created_at"], name="lti_launch_age")]

    def __str__(self) -> str:
        return f"launch {self.pk}"

    @property
    def is_over(self) -> bool:
        return self.created_at + LAUNCH_LIFE < timezone.now()


class SyncState(models.TextChoices):
    FETCHING = "fetching", "Being fetched"
    READY = "ready", "Ready to be looked at"
    APPLIED = "applied", "Applied"
    FAILED = "failed", "Failed"


class LtiSync(Tenanted):
    """A list of members fetched from a platform, to be compared with who is in the course."""

    context = models.ForeignKey(LtiContext, models.CASCADE, related_name="syncs")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    started_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=SyncState, default=SyncState.FETCHING)
    # How many people came so far.
    fetched = models.PositiveIntegerField(default=0)
    # The people, as `accounts.lti.memberships` reads them, and what it couldn't read.
    people = models.JSONField(default=list)
    unreadable = models.JSONField(default=list)
    problem = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    applied_at = models.DateTimeField(null=True)

    objects = LtiSyncQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("state", SyncState, "lti_sync"),
            models.UniqueConstraint(
                fields=["context"], condition=Q(state=SyncState.FETCHING), name="lti_sync_one_at_a_time"
            ),
        ]
        indexes = [models.Index(fields=["course", "-created_at"], name="lti_sync_by_course")]

    def __str__(self) -> str:
        return f"sync {self.pk}"
