"""Materials, the passages they are cut into, and answers whose citations can be checked against them."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import Course, Role, Tenanted, User, one_of
from ai_answers.querysets import (
    AnswerQuerySet,
    CitationQuerySet,
    MaterialQuerySet,
    MaterialVersionQuerySet,
    PassageQuerySet,
)
from forum.models import Thread
from quokkaq.lib.fulltext import LANGUAGE

MAX_MATERIAL = 1_000_000
PASSAGES_PER_PAGE = 40


class MaterialKind(models.TextChoices):
    LECTURE = "lecture", "Lecture"
    SLIDES = "slides", "Slides"
    READING = "reading", "Reading"
    LAB = "lab", "Lab"
    ASSIGNMENT = "assignment", "Assignment"
    SYLLABUS = "syllabus", "Syllabus"


class MaterialFormat(models.TextChoices):
    MARKDOWN = "markdown", "Markdown"
    TEXT = "text", "Plain text"


class Material(Tenanted):
    """Something a course is taught from."""

    course = models.ForeignKey(Course, models.CASCADE, related_name="materials")
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=12, choices=MaterialKind, default=MaterialKind.READING)
    current_version = models.ForeignKey(
        "ai_answers.MaterialVersion", models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = MaterialQuerySet.as_manager()

    class Meta:
        ordering = ["title", "id"]
        constraints = [
            one_of("kind", MaterialKind, "material"),
            models.UniqueConstraint(
                fields=["course", "title"], condition=Q(deleted_at=None), name="material_title_unique"
            ),
        ]
        indexes = [models.Index(fields=["course", "title", "id"], name="material_listing")]

    def __str__(self) -> str:
        return self.title


class MaterialVersion(Tenanted):
    """The text of a material as it was uploaded once. It never changes (a trigger sees to it): citations point into it.

    Offsets into `text` count Unicode code points from 0; the end is exclusive.
    """

    material = models.ForeignKey(Material, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    format = models.CharField(max_length=10, choices=MaterialFormat)
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = MaterialVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["material", "number"], name="material_version_number_unique"),
            one_of("format", MaterialFormat, "material_version"),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"


def _source_url(slug: str, version: MaterialVersion, start: int, end: int) -> str:
    path = reverse("ai_answers:material", args=[slug, version.material_id])
    return f"{path}?v={version.number}&start={start}&end={end}#cited"


class Passage(Tenanted):
    """A stretch of a version that is found and quoted as one: `text == version.text[start:end]`."""

    version = models.ForeignKey(MaterialVersion, models.CASCADE, related_name="passages")
    position = models.PositiveIntegerField()
    heading = models.CharField(max_length=300, blank=True)
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    text = models.TextField()
    word_count = models.PositiveIntegerField()
    search = models.GeneratedField(
        expression=SearchVector("heading", config=LANGUAGE) + SearchVector("text", config=LANGUAGE),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects = PassageQuerySet.as_manager()

    # Set by `ai_answers.finding`: the start of the text.
    shown: str

    class Meta:
        ordering = ["version", "position"]
        constraints = [
            models.UniqueConstraint(fields=["version", "position"], name="passage_position_unique"),
            models.CheckConstraint(condition=Q(text__length=F("end") - F("start")), name="passage_offsets_fit"),
        ]
        indexes = [GinIndex(fields=["search"], name="passage_search")]

    def __str__(self) -> str:
        return self.heading or f"passage {self.position}"

    def source_url(self, slug: str) -> str:
        """Return the address of the passage in its source, in the course `slug`."""
        return _source_url(slug, self.version, self.start, self.end)


class AnswerStatus(models.TextChoices):
    QUEUED = "queued", "Waiting"
    GENERATING = "generating", "Reading the materials"
    PUBLISHED = "published", "Published"
    ABSTAINED = "abstained", "No answer in the materials"
    FAILED = "failed", "Failed"


class Answer(Tenanted):
    """What the machine said to one question, or that it didn't."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="ai_answers")
    status = models.CharField(max_length=10, choices=AnswerStatus, default=AnswerStatus.QUEUED)
    engine = models.CharField(max_length=40, blank=True)
    # Markdown with `[n]` markers; each n is the number of a citation.
    body = models.TextField(blank=True)
    body_html = models.TextField(blank=True, editable=False)
    attempts = models.PositiveIntegerField(default=0)
    # The class of the last error, never its text: that may quote what somebody wrote.
    error_code = models.CharField(max_length=80, blank=True)
    queued_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    # Kept by a trigger.
    endorsement_count = models.PositiveIntegerField(default=0, editable=False)
    # The words of the answer and of its quotations; kept by a trigger, too.
    search = SearchVectorField(null=True, editable=False)

    objects = AnswerQuerySet.as_manager()

    class Meta:
        ordering = ["-queued_at", "-id"]
        constraints = [
            # Checked at the end of a statement, so that one can swap the answers of two threads.
            models.UniqueConstraint(
                fields=["thread"], name="answer_one_per_thread", deferrable=models.Deferrable.IMMEDIATE
            ),
            one_of("status", AnswerStatus, "answer"),
        ]
        indexes = [
            models.Index(fields=["status", "-queued_at", "-id"], name="answer_by_status"),
            GinIndex(fields=["search"], name="answer_search"),
        ]

    def __str__(self) -> str:
        return f"Answer ({self.get_status_display()})"

    @property
    def is_pending(self) -> bool:
        return self.status in (AnswerStatus.QUEUED, AnswerStatus.GENERATING)


class Citation(Tenanted):
    """An exact quotation: the characters `start` to `end` of a version. The database refuses any other (trigger)."""

    answer = models.ForeignKey(Answer, models.CASCADE, related_name="citations")
    number = models.PositiveSmallIntegerField()
    version = models.ForeignKey(MaterialVersion, models.CASCADE, related_name="citations")
    passage = models.ForeignKey(Passage, models.SET_NULL, null=True, related_name="+")
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    quote = models.TextField()

    objects = CitationQuerySet.as_manager()

    # Set by `with_source()`.
    source_text: str

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["answer", "number"], name="citation_number_unique"),
            models.CheckConstraint(
                condition=Q(start__lt=F("end")) & Q(quote__length=F("end") - F("start")), name="citation_offsets_fit"
            ),
        ]

    def __str__(self) -> str:
        return f"[{self.number}]"

    def source_url(self, slug: str) -> str:
        """Return the address of the quotation in its source, in the course `slug`."""
        return _source_url(slug, self.version, self.start, self.end)


class AnswerEndorsement(Tenanted):
    """A member of staff puts their name, and the role they have now, under an answer of the machine."""

    answer = models.ForeignKey(Answer, models.CASCADE, related_name="endorsements")
    endorser = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["answer", "endorser"], name="answer_endorsement_once"),
            one_of("role", Role, "answer_endorsement"),
        ]

    def __str__(self) -> str:
        return f"Endorsement {str(self.pk)[-6:]}"


class CallOutcome(models.TextChoices):
    ANSWERED = "answered", "Answered"
    ABSTAINED = "abstained", "Abstained"
    REFUSED = "refused", "Quotation not in the source"
    ERROR = "error", "Error"


class ModelCall(Tenanted):
    """The ledger: one row per call of an engine, with what it cost. Costs are in millionths of a US dollar."""

    answer = models.ForeignKey(Answer, models.SET_NULL, null=True, related_name="calls")
    engine = models.CharField(max_length=40)
    model = models.CharField(max_length=80, blank=True)
    outcome = models.CharField(max_length=10, choices=CallOutcome)
    passages = models.PositiveSmallIntegerField(default=0)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cost_micros = models.PositiveBigIntegerField(default=0)
    duration_ms = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [one_of("outcome", CallOutcome, "model_call")]
        indexes = [models.Index(fields=["institution", "-created_at", "-id"], name="model_call_by_institution")]

    def __str__(self) -> str:
        return f"{self.engine} {self.outcome}"
