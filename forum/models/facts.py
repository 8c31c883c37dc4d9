"""What the insights add up: one narrow row for each question and each answer that counts, made from threads and posts.

Counting threads and posts themselves reads their texts along. Medians and "who" can't be added up from days, so the rows
are as fine as what they say; `forum.insights.facts` makes them, and says what counts.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.models import Course, Institution, Tenanted, User
from accounts.models.base import InstitutionKey
from forum.models.threads import Thread
from forum.querysets import FactQuerySet


class QuestionFact(Tenanted):
    """What is counted of a question. Nothing in it says who asked."""

    thread = models.OneToOneField(Thread, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+", db_index=False)
    asked_at = models.DateTimeField()
    # Until the first answer by somebody else, and by staff; empty while there is none.
    wait = models.DurationField(null=True)
    staff_wait = models.DurationField(null=True)
    is_answered = models.BooleanField()
    is_endorsed = models.BooleanField()
    # A machine's answer is published; and only it answered, and staff endorsed it or the asker called it settled.
    has_machine = models.BooleanField()
    is_spared = models.BooleanField()
    tags = ArrayField(models.UUIDField())

    objects = FactQuerySet.as_manager()

    class Meta:
        indexes = [
            # Everything but the tags is read from the index alone; the wall between institutions looks at the first.
            models.Index(
                fields=["course", "asked_at"],
                include=[
                    "institution", "is_answered", "is_endorsed", "has_machine", "is_spared", "wait", "staff_wait",
                ],
                name="question_fact_by_course",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"Question fact {str(self.pk)[-6:]}"


class AnswerFact(Tenanted):
    """What is counted of an answer. `person` is empty when they hide, and when nobody is left: then `is_named`."""

    thread = models.ForeignKey(Thread, models.CASCADE, related_name="+")
    course = models.ForeignKey(Course, models.CASCADE, related_name="+", db_index=False)
    given_at = models.DateTimeField()
    person = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    is_named = models.BooleanField()
    is_by_staff = models.BooleanField()
    is_endorsed = models.BooleanField()

    objects = FactQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["course", "given_at"],
                include=["institution", "person", "is_named", "is_by_staff", "is_endorsed"],
                name="answer_fact_by_course",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(is_named=True) | models.Q(person=None), name="answer_fact_tells_nobody_who_hides"
            )
        ]

    def __str__(self) -> str:
        return f"Answer fact {str(self.pk)[-6:]}"


class FactsDue(Tenanted):
    """The facts of a thread are older than the thread. Triggers write it, in the transaction that changes what counts.

    Rows are only ever added, never one instead of another, so that nobody who writes waits for somebody else. Without
    foreign keys: what is deleted leaves its mark behind, too.
    """

    institution = InstitutionKey(Institution, models.CASCADE, related_name="+", editable=False, db_constraint=False)
    thread_id = models.UUIDField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["institution", "created_at"], name="facts_due_oldest")]

    def __str__(self) -> str:
        return f"Facts of {str(self.thread_id)[-6:]}"
