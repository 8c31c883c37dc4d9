"""Which materials, passages and answers a member may see."""

import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Prefetch, Q, Subquery, Value, When, Window
from django.db.models.functions import RowNumber, Substr
from django.utils import timezone

from accounts.access import Member
from accounts.models import Consent, ConsentKind, Course, User
from forum.models import Post, Thread

if TYPE_CHECKING:
    from ai_answers.models import (
        AIConsent,
        Answer,
        AnswerFeedback,
        Calibration,
        Citation,
        Conversation,
        Disclosure,
        EvaluationCase,
        EvaluationRun,
        Material,
        MaterialImport,
        MaterialVersion,
        Message,
        ModelCall,
        Passage,
        PassageVector,
        SummaryPoint,
        ThreadSummary,
    )


# The wording of `ai_answers/_consent.html` and of the page it leads to. Another wording is another version.
CONSENT_VERSION = "2026-11"
# Up to this distance (0-1), an edit leaves an answer the machine's own; so many must find it unhelpful to count.
LITTLE_CHANGED = 0.25
MIN_UNHELPFUL = 2


def _rows(model: str) -> Any:
    """Return the manager of another model of this app by name: models import this module, so it can't import them."""
    return apps.get_model("ai_answers", model).objects


def _readable(material: str, member: Member) -> Q:
    """Return the condition that the material at the end of the path `material` may be read by the member.

    One that is an endorsed thread may be read by whoever may read the thread.
    """
    path = f"{material}__" if material else ""
    own = Q(**{f"{path}thread": None}) | Q(**{f"{path}thread__in": Thread.objects.visible_to(member)})
    return own & Q(
        **{
            f"{path}course": member.course,
            f"{path}deleted_at": None,
            "institution_id": member.course.institution_id,
        }
    )


def _thread_texts(path: str) -> list[str]:
    """Return the columns of a joined thread that an address doesn't need."""
    return [f"{path}__{column}" for column in ("body", "body_html")]


class AIConsentQuerySet(models.QuerySet["AIConsent"]):
    def valid(self) -> "AIConsentQuerySet":
        """Return the decisions about the wording of today: one about an earlier wording is asked for again."""
        # Whoever has decided about this wording has decided about none since: it is the newest.
        decided = Consent.objects.filter(user=OuterRef("user"), kind=ConsentKind.AI, version=CONSENT_VERSION)
        return self.filter(Exists(decided))

    def given(self) -> "AIConsentQuerySet":
        """Return those who agreed to the wording of today: their texts may leave this server."""
        return self.valid().filter(is_given=True)


class MaterialQuerySet(models.QuerySet["Material"]):
    def visible_to(self, member: Member) -> "MaterialQuerySet":
        return self.filter(_readable("", member))

    def taught(self) -> "MaterialQuerySet":
        """Return what staff put there, without endorsed threads."""
        return self.filter(thread=None)

    def listed(self) -> "MaterialQuerySet":
        """Join what a line of the list shows; `pages` is the last page, slide or cell something stands on, with its kind."""
        rows = _rows("Passage").filter(version=OuterRef("current_version"), locator__isnull=False)
        last = rows.order_by("-position")
        return (
            self.select_related("current_version")  # type: ignore[no-redef]  # declared on the model
            .defer("current_version__text")
            .annotate(pages=Subquery(last.values("locator")[:1]), page_kind=Subquery(last.values("locator_kind")[:1]))
        )

    def deleted_in(self, member: Member) -> "MaterialQuerySet":
        """Return what was removed from the course, to its staff."""
        if not member.is_staff:
            return self.none()
        rows = self.filter(course=member.course, institution_id=member.course.institution_id)
        return rows.taught().exclude(deleted_at=None)


class MaterialVersionQuerySet(models.QuerySet["MaterialVersion"]):
    def visible_to(self, member: Member) -> "MaterialVersionQuerySet":
        return self.filter(_readable("material", member))


class MaterialImportQuerySet(models.QuerySet["MaterialImport"]):
    def visible_to(self, member: Member) -> "MaterialImportQuerySet":
        """Return the imports of the course, to its staff."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class PassageQuerySet(models.QuerySet["Passage"]):
    def visible_to(self, member: Member) -> "PassageQuerySet":
        """Return the passages of every version of the materials the member may read."""
        return self.filter(_readable("version__material", member))

    def current(self) -> "PassageQuerySet":
        """Return the passages of the newest version of each material."""
        return self.filter(version=F("version__material__current_version"))

    def without_vectors(self, model: str) -> "PassageQuerySet":
        """Return the passages that nobody embedded with a model yet."""
        return self.filter(~Exists(_rows("PassageVector").filter(passage=OuterRef("pk"), model=model, part=0)))

    def taught(self) -> "PassageQuerySet":
        """Return the passages of what staff put there, without those of endorsed threads."""
        return self.filter(version__material__thread=None)

    def with_source(self) -> "PassageQuerySet":
        """Join what the address of a passage needs, without the long texts."""
        path = "version__material__thread"
        return self.select_related(path).defer("search", "version__text", *_thread_texts(path))


class PassageVectorQuerySet(models.QuerySet["PassageVector"]):
    def visible_to(self, member: Member) -> "PassageVectorQuerySet":
        return self.filter(_readable("passage__version__material", member))


class AnswerQuerySet(models.QuerySet["Answer"]):
    def visible_to(self, member: Member) -> "AnswerQuerySet":
        """Return the current answers to threads the member may read. Drafts are for staff."""
        rows = self.current().filter(thread__in=Thread.objects.visible_to(member))
        return rows if member.is_staff else rows.exclude(status="draft")

    def current(self) -> "AnswerQuerySet":
        """Return the answers that weren't replaced: one per thread."""
        return self.filter(is_current=True)

    def shown(self) -> "AnswerQuerySet":
        """Return the answers that whoever may read the thread may read."""
        return self.filter(status__in=("published", "endorsed", "edited"))

    def history(self, member: Member, thread: Thread) -> "AnswerQuerySet":
        """Return every answer the thread had, newest first, to staff who may read it."""
        if not member.is_staff:
            return self.none()
        return self.filter(thread=thread, thread__in=Thread.objects.visible_to(member)).order_by("-queued_at", "-pk")

    def citing(self, material: "Material") -> "AnswerQuerySet":
        """Return the answers that stand or may come to stand, and quote a version of the material."""
        quotations = _rows("Citation").filter(answer=OuterRef("pk"), version__material=material)
        return self.current().filter(status__in=("draft", "published", "endorsed", "edited")).filter(Exists(quotations))

    def under_no_embargo(self) -> "AnswerQuerySet":
        """Return the answers to threads whose assignment may be solved in public now, or that are about none."""
        until = "thread__assignment__embargo_until"
        return self.filter(Q(**{until: None}) | Q(**{f"{until}__lte": timezone.now()}))

    def judged(self) -> "AnswerQuerySet":
        """Return the answers people have judged, with `was_good`. The first of these that is true counts:

        withdrawn by staff: bad; endorsed: good; edited: good when little changed; most who said so found it unhelpful: bad.
        What nobody judged, and what fell with its source, says nothing.
        """
        bad_reasons = ("staff", "wrong", "off_topic", "solution")
        withdrawn = Q(withdrawal_reason__in=bad_reasons)
        edited = Q(edit_distance__isnull=False)
        unhelpful = Q(unhelpful_count__gte=MIN_UNHELPFUL, unhelpful_count__gt=F("helpful_count"))
        return (
            self.exclude(features={})
            .filter(withdrawn | Q(endorsement_count__gt=0) | edited | unhelpful)
            .annotate(  # type: ignore[no-redef]  # declared on the model
                was_good=Case(
                    When(withdrawn, then=Value(False)),
                    When(endorsement_count__gt=0, then=Value(True)),
                    When(edited, then=Q(edit_distance__lte=LITTLE_CHANGED)),
                    default=Value(False),
                )
            )
        )

    def judgements(self) -> list[tuple[dict[str, float], bool]]:
        """Return the features of each judged answer, and whether it was good, in a fixed order. One query."""
        rows = self.judged().only("features", "queued_at").order_by("pk")
        return [(answer.features, answer.was_good) for answer in rows]

    def with_citations(self) -> "AnswerQuerySet":
        """Load citations with their source and endorsements with their names: two more queries at any number."""
        endorsements = _rows("AnswerEndorsement").select_related("endorser")
        return self.prefetch_related(
            Prefetch("citations", _rows("Citation").with_source()), Prefetch("endorsements", endorsements)
        )


class CitationQuerySet(models.QuerySet["Citation"]):
    def visible_to(self, member: Member) -> "CitationQuerySet":
        """Return the quotations of answers the member may read, and of their own conversations."""
        answers = _rows("Answer").visible_to(member)
        return self.filter(
            Q(answer__in=answers if member.is_staff else answers.shown())
            | Q(message__conversation__in=_rows("Conversation").visible_to(member))
        )

    def with_source(self) -> "CitationQuerySet":
        """Join the source, and add `source_text`: what the stored version says at the cited offsets, now."""
        return (
            self.select_related("version__material__thread", "passage")  # type: ignore[no-redef]  # declared on the model
            .defer("version__text", "passage__text", "passage__search", *_thread_texts("version__material__thread"))
            .annotate(source_text=Substr("version__text", F("start") + 1, F("end") - F("start")))
            .order_by("number")
        )


class AnswerFeedbackQuerySet(models.QuerySet["AnswerFeedback"]):
    def of(self, member: Member) -> "AnswerFeedbackQuerySet":
        """Return what the member said themselves. Nobody else sees who said what."""
        return self.filter(reader=member.user, answer__in=_rows("Answer").visible_to(member))

    def reasons_for(self, answer: "Answer") -> list[tuple[str, int]]:
        """Return what readers found wrong with an answer, in words, and how many each; for staff, without who."""
        rows = self.filter(answer=answer).exclude(reason="").order_by().values("reason").annotate(count=Count("pk"))
        labels = dict(self.model._meta.get_field("reason").flatchoices)
        return [(labels[row["reason"]], row["count"]) for row in rows.order_by("-count", "reason")]


class CalibrationQuerySet(models.QuerySet["Calibration"]):
    def for_course(self, course: Course) -> "CalibrationQuerySet":
        """Return the calibrations that may count in a course: its own, and those of its whole institution."""
        return self.filter(Q(course=course) | Q(course=None), institution=course.institution_id)


class ModelCallQuerySet(models.QuerySet["ModelCall"]):
    def visible_to(self, member: Member) -> "ModelCallQuerySet":
        """Return the calls of the course, to its staff."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class DisclosureQuerySet(models.QuerySet["Disclosure"]):
    def of(self, user: User) -> "DisclosureQuerySet":
        """Return what was sent for a person, to that person alone."""
        return self.filter(user=user, institution_id=user.institution_id)


class EvaluationCaseQuerySet(models.QuerySet["EvaluationCase"]):
    def visible_to(self, member: Member) -> "EvaluationCaseQuerySet":
        """Return the cases of the course, to its staff."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class EvaluationRunQuerySet(models.QuerySet["EvaluationRun"]):
    def visible_to(self, member: Member) -> "EvaluationRunQuerySet":
        """Return, to staff, how engines did on the cases of their course and on the frozen sets, which are about none."""
        if not member.is_staff:
            return self.none()
        own = Q(course=member.course) | Q(course=None)
        return self.filter(own, institution_id=member.course.institution_id)


class ConversationQuerySet(models.QuerySet["Conversation"]):
    def visible_to(self, member: Member) -> "ConversationQuerySet":
        """Return the member's own conversations in the course: nobody else reads them, staff neither."""
        return self.filter(user=member.user, course=member.course, institution_id=member.course.institution_id)

    def chats(self) -> "ConversationQuerySet":
        """Return the conversations, without previews of questions that weren't posted yet."""
        return self.filter(kind="chat")

    def latest_of(self, user: User, courses: Collection[uuid.UUID], each: int) -> "ConversationQuerySet":
        """Return the person's newest conversations, `each` of every one of these courses of theirs. One query."""
        mine = self.filter(user=user, institution_id=user.institution_id, course__in=courses).chats()
        newest_first = [F("last_message_at").desc(), F("id").desc()]
        place = Window(RowNumber(), partition_by=[F("course")], order_by=newest_first)
        return mine.annotate(place=place).filter(place__lte=each)


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, member: Member) -> "MessageQuerySet":
        """Return what was said in the member's own conversations."""
        return self.filter(conversation__in=_rows("Conversation").visible_to(member))

    def with_citations(self) -> "MessageQuerySet":
        """Load the quotations with their source: two more queries at any number."""
        return self.prefetch_related(Prefetch("citations", _rows("Citation").with_source()))


class ThreadSummaryQuerySet(models.QuerySet["ThreadSummary"]):
    def visible_to(self, member: Member) -> "ThreadSummaryQuerySet":
        """Return the summaries of threads that every student of the course may read."""
        threads = Thread.objects.visible_to(member).filter(visibility="course", moderation="shown")
        return self.filter(thread__in=threads)


class SummaryPointQuerySet(models.QuerySet["SummaryPoint"]):
    def visible_to(self, member: Member) -> "SummaryPointQuerySet":
        """Return the points that come from posts the member may read now, in threads they may read."""
        posts = Post.objects.visible_to(member)
        return self.filter(Q(post=None) | Q(post__in=posts), summary__thread__in=Thread.objects.visible_to(member))
