"""Which materials, passages and answers a member may see."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import F, Prefetch, Q
from django.db.models.functions import Substr

from accounts.access import Member
from accounts.models import User
from forum.models import Post, Thread

if TYPE_CHECKING:
    from ai_answers.models import (
        Answer,
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
    )


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


class MaterialQuerySet(models.QuerySet["Material"]):
    def visible_to(self, member: Member) -> "MaterialQuerySet":
        return self.filter(_readable("", member))

    def taught(self) -> "MaterialQuerySet":
        """Return what staff put there, without endorsed threads."""
        return self.filter(thread=None)


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

    def with_citations(self) -> "AnswerQuerySet":
        """Load citations with their source and endorsements with their names: two more queries at any number."""
        endorsements = _rows("AnswerEndorsement").select_related("endorser")
        return self.prefetch_related(
            Prefetch("citations", _rows("Citation").with_source()), Prefetch("endorsements", endorsements)
        )


class CitationQuerySet(models.QuerySet["Citation"]):
    def visible_to(self, member: Member) -> "CitationQuerySet":
        """Return the quotations of answers to threads the member may read, and of their own conversations."""
        return self.filter(
            Q(answer__in=_rows("Answer").visible_to(member))
            | Q(message__conversation__in=_rows("Conversation").visible_to(member))
        )

    def with_source(self) -> "CitationQuerySet":
        """Join the source, and add `source_text`: what the stored version says at the cited offsets, now."""
        return (
            self.select_related("version__material", "passage")  # type: ignore[no-redef]  # declared on the model
            .defer("version__text", "passage__text", "passage__search")
            .annotate(source_text=Substr("version__text", F("start") + 1, F("end") - F("start")))
            .order_by("number")
        )


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


class MessageQuerySet(models.QuerySet["Message"]):
    def visible_to(self, member: Member) -> "MessageQuerySet":
        return self.filter(conversation__in=_rows("Conversation").visible_to(member))


class SummaryPointQuerySet(models.QuerySet["SummaryPoint"]):
    def visible_to(self, member: Member) -> "SummaryPointQuerySet":
        """Return the points that come from posts the member may read now, in threads they may read."""
        posts = Post.objects.visible_to(member)
        return self.filter(Q(post=None) | Q(post__in=posts), summary__thread__in=Thread.objects.visible_to(member))
