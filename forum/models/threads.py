"""Threads, their tags, and who has read them."""

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import Course, Tenanted, User, one_of
from forum.models.writing import MAX_TITLE, MIN_TITLE, Writing
from forum.querysets import TagQuerySet, ThreadQuerySet, ThreadReadQuerySet

# As the conditions of the queue and of the insights say it, so that PostgreSQL knows one from the other.
_LIVE = Q(deleted_at=None, merged_into=None)
_UNANSWERED = _LIVE & Q(kind="question", status="open", moderation="shown")


class Kind(models.TextChoices):
    QUESTION = "question", "Question"
    DISCUSSION = "discussion", "Discussion"
    ANNOUNCEMENT = "announcement", "Announcement"


class Status(models.TextChoices):
    OPEN = "open", "Open"
    ANSWERED = "answered", "Answered"
    RESOLVED = "resolved", "Resolved"


class Visibility(models.TextChoices):
    COURSE = "course", "Everyone in the course"
    STAFF = "staff", "Only course staff and me"


class Tag(Tenanted):
    """A word staff chose for sorting threads of a course."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="tags")
    slug = models.SlugField(max_length=40)
    name = models.CharField(max_length=40)

    objects = TagQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["course", "slug"], name="tag_slug_unique")]

    def __str__(self) -> str:
        return self.name


class Thread(Writing):
    """A question, discussion or announcement in a course; people call it by its number, `#123`."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="threads", db_index=False)
    number = models.PositiveIntegerField(editable=False)
    title = models.CharField(max_length=MAX_TITLE)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.QUESTION)
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
    visibility = models.CharField(max_length=8, choices=Visibility, default=Visibility.COURSE)
    is_pinned = models.BooleanField("pinned", default=False)
    is_locked = models.BooleanField("locked", default=False)
    accepted_post = models.ForeignKey(
        "forum.Post", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    assignment = models.ForeignKey(
        "forum.Assignment", models.SET_NULL, null=True, blank=True, editable=False, related_name="threads"
    )
    # The member of staff who said they (or of whom a colleague said they) would answer.
    assignee = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    assigned_at = models.DateTimeField(null=True, editable=False)
    # The same question, answered elsewhere: this thread stays, and points there.
    duplicate_of = models.ForeignKey("self", models.SET_NULL, null=True, editable=False, related_name="duplicates")
    # Its replies stand in the other thread now, and its address leads there.
    merged_into = models.ForeignKey("self", models.SET_NULL, null=True, editable=False, related_name="merged")
    tags = models.ManyToManyField(Tag, through="ThreadTag", related_name="threads")
    # Kept by triggers (migration 0002) in the transaction that changes what they count.
    reply_count = models.PositiveIntegerField(default=0, editable=False)
    same_count = models.PositiveIntegerField(default=0, editable=False)
    last_activity_at = models.DateTimeField(default=timezone.now, editable=False)
    # Kept by the task `forum.count_readers`, a minute behind at most.
    reader_count = models.PositiveIntegerField(default=0, editable=False)

    objects = ThreadQuerySet.as_manager()

    # Set by `with_reader()`.
    my_read_at: datetime | None
    my_same: bool
    my_follow: str | None
    # Set by `with_merges()`.
    has_merged: bool
    # Set by `with_merge()`.
    merge_id: uuid.UUID | None
    # Set by `with_told()`.
    my_told: bool
    # Set by `listed()`.
    tag_pairs: list[tuple[str, str]]

    class Meta(Writing.Meta):
        ordering = ["-created_at", "-id"]
        constraints = [
            *Writing.Meta.constraints,
            models.UniqueConstraint(fields=["course", "number"], name="thread_number_unique"),
            models.CheckConstraint(
                condition=Q(title__length__gte=MIN_TITLE, title__length__lte=MAX_TITLE), name="thread_title_length"
            ),
            one_of("kind", Kind, "thread"),
            one_of("status", Status, "thread"),
            one_of("visibility", Visibility, "thread"),
            models.CheckConstraint(
                condition=(Q(duplicate_of=None) | ~Q(duplicate_of=models.F("id")))
                & (Q(merged_into=None) | ~Q(merged_into=models.F("id"))),
                name="thread_not_its_own_duplicate",
            ),
        ]
        indexes = [
            # One per order of the list; the id settles ties, so the cursor (key, id) walks the index.
            *(
                models.Index(
                    fields=["course", f"-{key}", "-id"], condition=Q(deleted_at=None), name=f"thread_by_{name}"
                )
                for key, name in (("last_activity_at", "activity"), ("created_at", "age"), ("vote_count", "votes"))
            ),
            models.Index(
                fields=["course", "status", "-last_activity_at", "-id"],
                condition=Q(deleted_at=None),
                name="thread_by_status",
            ),
            models.Index(fields=["course", "-last_activity_at"], condition=Q(is_pinned=True), name="thread_pinned"),
            models.Index(
                fields=["course", "-last_activity_at", "-id"],
                condition=Q(deleted_at=None, visibility="staff"),
                name="thread_private",
            ),
            models.Index(fields=["author", "course", "-last_activity_at", "-id"], name="thread_by_author"),
            models.Index(
                fields=["assignment", "-last_activity_at", "-id"],
                condition=Q(deleted_at=None, assignment__isnull=False),
                name="thread_by_assignment",
            ),
            models.Index(fields=["course", "assignee"], condition=Q(assignee__isnull=False), name="thread_by_assignee"),
            models.Index(fields=["course", "created_at"], condition=~Q(moderation="shown"), name="thread_moderated"),
            # The staff queue and the insights; the wall between institutions looks at what is included, too.
            models.Index(
                fields=["course", "created_at", "id"],
                include=["institution", "duplicate_of"],
                condition=_UNANSWERED,
                name="thread_unanswered",
            ),
            models.Index(
                fields=["course", "-same_count", "id"],
                condition=_UNANSWERED & Q(duplicate_of=None, same_count__gt=0),
                name="thread_wanted",
            ),
            models.Index(
                fields=["course", "created_at", "id"],
                condition=_LIVE & Q(visibility="staff", duplicate_of=None) & ~Q(status="resolved"),
                name="thread_private_unsettled",
            ),
            # Admin: the list, and those of its filters that find little.
            models.Index(fields=["institution", "-created_at", "-id"], name="thread_newest"),
            models.Index(
                fields=["institution", "-created_at", "-id"], condition=Q(is_locked=True), name="thread_locked"
            ),
            models.Index(
                fields=["institution", "-created_at", "-id"],
                condition=Q(deleted_at__isnull=False),
                name="thread_deleted",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.title}"

    def get_absolute_url(self) -> str:
        return reverse("forum:thread", args=[self.course.slug, self.number])

    @property
    def reference_base(self) -> str:
        """Return the address that `#123` in the text of this thread counts from."""
        return reverse("forum:list", args=[self.course.slug])

    @property
    def is_unread(self) -> bool:
        """True when there is something the reader of `with_reader()` hasn't seen."""
        return self.my_read_at is None or self.my_read_at < self.last_activity_at


class ThreadTag(Tenanted):
    """One tag on one thread."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+", db_index=False)
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["thread", "tag"], name="thread_tag_once")]

    def __str__(self) -> str:
        return f"{self.tag_id} on {self.thread_id}"


class ThreadRead(Tenanted):
    """Up to when somebody has read a thread."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="reads")
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_index=False)
    read_at = models.DateTimeField()
    # False until `forum.count_readers` has added this reader to the thread's count.
    is_counted = models.BooleanField(default=False)

    objects = ThreadReadQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "thread"], name="thread_read_once")]
        indexes = [models.Index(fields=["thread"], condition=Q(is_counted=False), name="thread_read_uncounted")]

    def __str__(self) -> str:
        return f"{self.thread_id} read"
