"""What threads and posts have in common: text somebody wrote, under their name or a pseudonym."""

from collections.abc import Collection
from dataclasses import dataclass

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.access import Member
from accounts.models import DELETED_USER, Tenanted, User, one_of
from forum.querysets import PseudonymQuerySet
from quokkaq.lib.markdown import RENDERER_VERSION, References, render

MAX_BODY = 10_000
MAX_TITLE = 200
MIN_TITLE = 5


class Anonymity(models.TextChoices):
    NAMED = "named", "Show my name"
    CLASSMATES = "classmates", "Hide my name from classmates"
    ALL = "all", "Hide my name from everyone"


class Moderation(models.TextChoices):
    SHOWN = "shown", "Shown"
    PENDING = "pending", "Waiting for approval"
    HIDDEN = "hidden", "Hidden by staff"


@dataclass(frozen=True)
class Byline:
    """How an author is shown to one reader."""

    name: str
    user: User | None = None  # set only when the reader may know who it is
    pseudonym: str = ""
    is_reader: bool = False

    @property
    def hidden(self) -> bool:
        """True when the reader sees a pseudonym only."""
        return self.user is None


class Pseudonym(Tenanted):
    """The one name somebody goes by when they hide in a thread: the same for all they write there, different elsewhere."""

    thread = models.ForeignKey("forum.Thread", models.CASCADE, related_name="pseudonyms")
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=40)

    objects = PseudonymQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["thread", "user"], name="pseudonym_one_per_person"),
            models.UniqueConstraint(fields=["thread", "name"], name="pseudonym_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class Writing(Tenanted):
    """Markdown with its rendered HTML beside it, an author, and whether the author is shown."""

    author = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="%(class)ss", db_index=False)
    anonymity = models.CharField(max_length=10, choices=Anonymity, default=Anonymity.NAMED)
    pseudonym = models.ForeignKey(Pseudonym, models.RESTRICT, null=True, blank=True, editable=False, related_name="+")
    body = models.TextField(max_length=MAX_BODY)
    body_html = models.TextField(editable=False)
    html_version = models.PositiveSmallIntegerField(default=RENDERER_VERSION, editable=False)
    # Made from the form's key and its content: the same form sent twice is one row.
    submission_key = models.UUIDField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    edited_at = models.DateTimeField(null=True, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)
    deleted_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    # What isn't shown is seen by its author and by staff only.
    moderation = models.CharField(max_length=8, choices=Moderation, default=Moderation.SHOWN, editable=False)
    moderation_reason = models.CharField(max_length=300, blank=True, editable=False)
    moderated_by = models.ForeignKey(User, models.SET_NULL, null=True, editable=False, related_name="+")
    moderated_at = models.DateTimeField(null=True, editable=False)
    vote_count = models.PositiveIntegerField(default=0, editable=False)
    endorsement_count = models.PositiveIntegerField(default=0, editable=False)

    # Set by querysets for one reader.
    my_vote: bool

    class Meta:
        abstract = True
        constraints = [
            models.UniqueConstraint(fields=["author", "submission_key"], name="%(class)s_sent_once"),
            models.CheckConstraint(
                condition=Q(anonymity__in=Anonymity.values)
                & (Q(anonymity=Anonymity.NAMED, pseudonym=None) | (~Q(anonymity=Anonymity.NAMED) & ~Q(pseudonym=None))),
                name="%(class)s_pseudonym_if_hidden",
            ),
            models.CheckConstraint(
                condition=Q(body__length__gte=1, body__length__lte=MAX_BODY), name="%(class)s_body_length"
            ),
            one_of("moderation", Moderation, "%(class)s"),
        ]

    @property
    def reference_base(self) -> str:
        raise NotImplementedError

    def set_body(self, body: str, *, names: Collection[str] = ()) -> None:
        """Take new Markdown and render it; `names` are those that `@` may be followed by."""
        self.body = body
        self.body_html = render(body, References(self.reference_base, names))
        self.html_version = RENDERER_VERSION

    def html(self) -> str:
        """Return the stored HTML, rendered again when an older renderer made it."""
        if self.html_version == RENDERER_VERSION:
            return self.body_html
        return render(self.body, References(self.reference_base))

    @property
    def is_shown(self) -> bool:
        """True unless it waits for approval or staff have hidden it."""
        return self.moderation == Moderation.SHOWN

    def is_by(self, member: Member) -> bool:
        return self.author_id is not None and self.author_id == member.user.pk

    def byline(self, member: Member) -> Byline:
        """Return how the author is shown to `member`: the only place that decides it."""
        is_reader = self.is_by(member)
        # Who is erased has no name any more; under a pseudonym they look as anybody who hides.
        author, pseudonym = self.author, self.pseudonym
        if author is not None and author.erased_at is not None:
            author = None
        if pseudonym is None:
            if author is None:
                return Byline(DELETED_USER)
            return Byline(author.display_name, user=author, is_reader=is_reader)
        if self.anonymity == Anonymity.CLASSMATES and member.is_staff and author is not None:
            return Byline(author.display_name, user=author, pseudonym=pseudonym.name, is_reader=is_reader)
        return Byline(pseudonym.name, pseudonym=pseudonym.name, is_reader=is_reader)
