"""What search looks in, and whom it spared a question."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from pgvector.django import HalfVectorField

from accounts.models import Course, Tenanted, User
from forum.models.posts import Post
from forum.models.threads import Thread
from forum.querysets import DeflectionQuerySet, SearchEntryQuerySet, ThreadVectorQuerySet


class SearchEntry(Tenanted):
    """The words of a thread's own text (no `post`) or of a post in it. Triggers keep it (migration 0006).

    In a table of its own, so that nothing else that reads threads and posts carries the vectors along. The course
    stands in the vector as a word, so that "these words in this course" is one look-up in one index.
    """

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+", db_index=False)
    post = models.ForeignKey(Post, models.CASCADE, null=True, related_name="+", db_index=False)
    vector = SearchVectorField()

    objects = SearchEntryQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["thread", "post"], nulls_distinct=False, name="search_entry_once")
        ]
        indexes = [
            GinIndex(fields=["vector"], name="search_entry_words"),
            # Suggestions and similar threads look at threads only, and are wanted while somebody types.
            GinIndex(fields=["vector"], name="search_thread_words", condition=Q(post=None)),
            models.Index(fields=["post"], condition=Q(post__isnull=False), name="search_entry_by_post"),
        ]

    def __str__(self) -> str:
        return f"Search entry {str(self.pk)[-6:]}"


class Deflection(Tenanted):
    """Somebody was about to ask, was shown a thread, or what the materials say (no thread), and said that it answers them."""

    user = models.ForeignKey(User, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+")
    thread = models.ForeignKey(Thread, models.CASCADE, null=True, blank=True, related_name="deflections")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DeflectionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["course", "-created_at"], name="deflection_by_course")]

    def __str__(self) -> str:
        return f"Deflection {str(self.pk)[-6:]}"


class ThreadVector(Tenanted):
    """What a thread asks, as two vectors of length 1 by the model named: of its title, and of title and text together.

    `digest` is the SHA-256 of the text they were made from, `made_from` the moment that text was written: a later edit means
    that they have to be made again.
    """

    thread = models.OneToOneField(Thread, models.CASCADE, related_name="meaning")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+", db_index=False)
    model = models.CharField(max_length=80)
    digest = models.CharField(max_length=64)
    made_from = models.DateTimeField()
    of_title = HalfVectorField()
    of_all = HalfVectorField()

    objects = ThreadVectorQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["course", "model"], name="thread_vector_by_course")]

    def __str__(self) -> str:
        return f"{self.model} {self.digest[:6]}"
