"""Files people send, from the first byte to the last look at them."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.base import Tenanted, one_of
from accounts.models.courses import Course
from accounts.models.people import User
from accounts.querysets import UploadQuerySet
from quokkaq.lib.inspecting import IMAGES, TYPES

# How long a ticket to send a file holds.
TICKET_LIFE = timedelta(minutes=10)
# How long a file waits for what it is to be attached to: a draft may take days.
UNATTACHED_LIFE = timedelta(days=7)
# Of a picture in a text, in CSS pixels: writing.css says the same.
SHOWN_HEIGHT = 318


class Purpose(models.TextChoices):
    ATTACHMENT = "attachment", "Attachment"
    AVATAR = "avatar", "Picture of a person"
    MATERIAL = "material", "Course material"
    EXPORT = "export", "Export"


class UploadState(models.TextChoices):
    PENDING = "pending", "Being sent"
    UPLOADED = "uploaded", "Waiting to be checked"
    SCANNING = "scanning", "Being checked"
    CLEAN = "clean", "Checked"
    REJECTED = "rejected", "Refused"
    EXPIRED = "expired", "Gone"


UNDER_WAY = (UploadState.PENDING, UploadState.UPLOADED, UploadState.SCANNING)


class Upload(Tenanted):
    """One file: `pending → uploaded → scanning → clean | rejected | expired`.

    Until it is clean it lies in quarantine, where nothing is served from. Where it lies is made of its key: what somebody
    calls a file is shown and never trusted. `size` counts bytes and `sha256` is of what is served, once it is clean;
    before, `size` is what was announced. `attached_at` is set in the transaction that attaches it; what stays
    unattached is deleted after `UNATTACHED_LIFE`.
    """

    owner = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="uploads")
    course = models.ForeignKey(Course, models.CASCADE, null=True, blank=True, related_name="uploads")
    purpose = models.CharField(max_length=10, choices=Purpose)
    state = models.CharField(max_length=10, choices=UploadState, default=UploadState.PENDING)
    original_name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=120)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    # Where the checked file lies; empty before, and once it is gone.
    storage_key = models.CharField(max_length=100, blank=True)
    rejection = models.CharField("why it was refused", max_length=40, blank=True)
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    state_at = models.DateTimeField(default=timezone.now, editable=False)
    attached_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("purpose", Purpose, "upload"),
            one_of("state", UploadState, "upload"),
            models.CheckConstraint(
                condition=(Q(state=UploadState.CLEAN) & ~Q(storage_key="") & ~Q(sha256=""))
                | (~Q(state=UploadState.CLEAN) & Q(storage_key="")),
                name="upload_stored_once_clean",
            ),
            models.CheckConstraint(
                condition=Q(state=UploadState.REJECTED) ^ Q(rejection=""), name="upload_refused_for_a_reason"
            ),
            models.CheckConstraint(
                condition=Q(purpose__in=(Purpose.AVATAR, Purpose.EXPORT)) | Q(course__isnull=False),
                name="upload_in_a_course",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="upload_by_owner"),
            models.Index(fields=["course", "-created_at", "-id"], name="upload_by_course"),
            models.Index(
                fields=["state", "state_at"], condition=~Q(state__in=("clean", "rejected", "expired")),
                name="upload_under_way",
            ),
            models.Index(
                fields=["state_at"], condition=Q(attached_at=None) & ~Q(state="expired"), name="upload_unattached"
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} {str(self.pk)[-6:]}"

    @property
    def is_under_way(self) -> bool:
        return self.state in UNDER_WAY

    @property
    def is_clean(self) -> bool:
        return self.state == UploadState.CLEAN

    @property
    def is_image(self) -> bool:
        return self.content_type in IMAGES

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in CSS pixels at which a text shows a picture, so that its place is kept until it comes."""
        if not self.width or not self.height:
            return None
        scale = min(1.0, SHOWN_HEIGHT / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    @property
    def tells_no_author(self) -> bool:
        """False for files that carry who made them inside: all but pictures, which are made anew, and plain text."""
        return self.is_image or self.content_type.startswith("text/")

    @property
    def served_as(self) -> str:
        """Return the Content-Type it is served with."""
        kind = TYPES.get(self.content_type)
        return kind.served_as if kind else "application/octet-stream"
