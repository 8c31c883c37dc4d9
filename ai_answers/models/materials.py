"""What a course is taught from: its versions, the passages they are cut into, and what those mean as numbers."""

from math import ceil

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from pgvector.django import HalfVectorField

from accounts.models import Course, Tenanted, Upload, User, one_of
from ai_answers.querysets import (
    MaterialImportQuerySet,
    MaterialQuerySet,
    MaterialVersionQuerySet,
    PassageQuerySet,
    PassageVectorQuerySet,
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
    # What staff endorsed in the forum; never chosen by hand.
    THREAD = "thread", "Endorsed thread"


class MaterialFormat(models.TextChoices):
    MARKDOWN = "markdown", "Markdown"
    TEXT = "text", "Plain text"
    HTML = "html", "HTML"
    PDF = "pdf", "PDF"
    PPTX = "pptx", "PowerPoint"
    DOCX = "docx", "Word"
    IPYNB = "ipynb", "Jupyter notebook"


class Material(Tenanted):
    """Something a course is taught from, or an endorsed thread of its forum (`thread`), which answers may quote, too.

    Such a thread is a material that is listed nowhere; it is read, cut, found, quoted and re-checked like the others.
    """

    course = models.ForeignKey(Course, models.CASCADE, related_name="materials")
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=12, choices=MaterialKind, default=MaterialKind.READING)
    thread = models.OneToOneField(
        Thread, models.CASCADE, null=True, blank=True, editable=False, related_name="as_material"
    )
    current_version = models.ForeignKey(
        "ai_answers.MaterialVersion", models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = MaterialQuerySet.as_manager()

    # Set by `listed()`.
    pages: int | None
    page_kind: str | None

    class Meta:
        ordering = ["title", "id"]
        constraints = [
            one_of("kind", MaterialKind, "material"),
            models.CheckConstraint(
                condition=Q(kind="thread", thread__isnull=False) | (~Q(kind="thread") & Q(thread=None)),
                name="material_thread_is_its_kind",
            ),
            models.UniqueConstraint(
                fields=["course", "title"],
                condition=Q(deleted_at=None, thread=None),
                name="material_title_unique",
            ),
        ]
        indexes = [models.Index(fields=["course", "title", "id"], name="material_listing")]

    def __str__(self) -> str:
        return self.title


class MaterialVersion(Tenanted):
    """The text of a material as it was uploaded once. It never changes (a trigger sees to it): citations point into it.

    Offsets into `text` count Unicode code points from 0; the end is exclusive. Of a file, `text` is what was read out of
    it: rendered pages show that, and quotations are exact in it.
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


class ImportState(models.TextChoices):
    CHECKING = "checking", "Checking the file"
    QUEUED = "queued", "Waiting"
    READING = "reading", "Reading the file"
    INDEXING = "indexing", "Indexing"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class MaterialImport(Tenanted):
    """One file or pasted text on its way to a version of a material: checked, read in a child process, then indexed, both as tasks.

    `passages_done` of `passages_total` are indexed by meaning. `problem` says in a sentence for staff why a file can't
    be read; it never quotes it.
    """

    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    material = models.ForeignKey(Material, models.CASCADE, null=True, related_name="imports")
    version = models.OneToOneField(MaterialVersion, models.SET_NULL, null=True, related_name="made_by")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    title = models.CharField(max_length=200)
    kind = models.CharField(max_length=12, choices=MaterialKind)
    format = models.CharField(max_length=10, choices=MaterialFormat)
    upload = models.OneToOneField(Upload, models.SET_NULL, null=True, editable=False, related_name="material_import")
    # Where the file lies in the store; empty for a pasted text, while it is being checked, and once it isn't needed.
    storage_key = models.CharField(max_length=200, blank=True, editable=False)
    original_name = models.CharField(max_length=200, blank=True, editable=False)
    size = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=ImportState, default=ImportState.QUEUED)
    passages_total = models.PositiveIntegerField(default=0)
    passages_done = models.PositiveIntegerField(default=0)
    problem = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = MaterialImportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            one_of("kind", MaterialKind, "material_import"),
            one_of("format", MaterialFormat, "material_import"),
            one_of("state", ImportState, "material_import"),
            models.CheckConstraint(
                condition=Q(passages_done__lte=F("passages_total")), name="material_import_progress_fits"
            ),
        ]
        indexes = [models.Index(fields=["course", "-created_at", "-id"], name="material_import_listing")]

    def __str__(self) -> str:
        return f"{self.title} ({self.get_state_display()})"

    @property
    def is_under_way(self) -> bool:
        return self.state in (ImportState.CHECKING, ImportState.QUEUED, ImportState.READING, ImportState.INDEXING)

    @property
    def percent(self) -> int:
        """How much of it is indexed by meaning."""
        return 100 * self.passages_done // self.passages_total if self.passages_total else 0

    @property
    def minutes_left(self) -> int | None:
        """How long indexing will go on if it goes on as it went so far; None while there is nothing to judge by."""
        if self.version is None or not self.passages_done:
            return None
        passed = (timezone.now() - self.version.created_at).total_seconds()
        return ceil(passed / self.passages_done * (self.passages_total - self.passages_done) / 60)


def source_url(slug: str, version: MaterialVersion, start: int, end: int) -> str:
    """Return the address that shows characters `start` to `end` of a version, marked, in the course `slug`.

    Of an endorsed thread, it is the thread's own page.
    """
    if version.material.thread is not None:
        return reverse("forum:thread", args=[slug, version.material.thread.number])
    path = reverse("ai_answers:material", args=[slug, version.material_id])
    return f"{path}?v={version.number}&start={start}&end={end}#cited"


class LocatorKind(models.TextChoices):
    PAGE = "page", "page"
    SLIDE = "slide", "slide"
    CELL = "cell", "cell"
    NONE = "", "none"


class Passage(Tenanted):
    """A stretch of a version that is found and quoted as one: `text == version.text[start:end]`.

    `locator` counts from 1: the page, slide or cell of the file in which it stands.
    """

    version = models.ForeignKey(MaterialVersion, models.CASCADE, related_name="passages")
    position = models.PositiveIntegerField()
    heading = models.CharField(max_length=300, blank=True)
    locator_kind = models.CharField(max_length=5, choices=LocatorKind, default=LocatorKind.NONE, blank=True)
    locator = models.PositiveIntegerField(null=True, blank=True)
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
            one_of("locator_kind", LocatorKind, "passage"),
            models.CheckConstraint(
                condition=Q(locator_kind="", locator=None) | (~Q(locator_kind="") & Q(locator__gte=1)),
                name="passage_locator_whole",
            ),
        ]
        indexes = [GinIndex(fields=["search"], name="passage_search")]

    def __str__(self) -> str:
        return self.heading or f"passage {self.position}"

    @property
    def place(self) -> str:
        """Where it stands in the file: “slide 4”; empty for a text."""
        return f"{self.get_locator_kind_display()} {self.locator}" if self.locator else ""

    def source_url(self, slug: str) -> str:
        """Return the address of the passage in its source, in the course `slug`."""
        return source_url(slug, self.version, self.start, self.end)


class PassageVector(Tenanted):
    """What a passage, or one of its sentences, means, as a vector of length 1 by the model named.

    `part` 0 is the whole passage with its heading; 1 and up are its sentences, at `start` to `end` of the passage's text.
    """

    passage = models.ForeignKey(Passage, models.CASCADE, related_name="vectors")
    model = models.CharField(max_length=80)
    part = models.PositiveSmallIntegerField(default=0)
    start = models.PositiveIntegerField(default=0)
    end = models.PositiveIntegerField()
    vector = HalfVectorField()

    objects = PassageVectorQuerySet.as_manager()

    class Meta:
        ordering = ["passage", "part"]
        constraints = [
            models.UniqueConstraint(fields=["passage", "model", "part"], name="passage_vector_unique"),
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="passage_vector_offsets_fit"),
        ]

    def __str__(self) -> str:
        return f"{self.model} {self.part}"
