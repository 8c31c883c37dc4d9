"""Which materials, passages and answers a member may see."""

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import F, Prefetch
from django.db.models.functions import Substr

from accounts.access import Member
from forum.models import Thread

if TYPE_CHECKING:
    from ai_answers.models import Answer, Citation, Material, MaterialVersion, Passage


def _rows(model: str) -> Any:
    """Return the manager of another model of this app by name: models import this module, so it can't import them."""
    return apps.get_model("ai_answers", model).objects


class MaterialQuerySet(models.QuerySet["Material"]):
    def visible_to(self, member: Member) -> "MaterialQuerySet":
        return self.filter(course=member.course, institution_id=member.course.institution_id, deleted_at=None)


class MaterialVersionQuerySet(models.QuerySet["MaterialVersion"]):
    def visible_to(self, member: Member) -> "MaterialVersionQuerySet":
        return self.filter(
            material__course=member.course,
            material__deleted_at=None,
            institution_id=member.course.institution_id,
        )


class PassageQuerySet(models.QuerySet["Passage"]):
    def visible_to(self, member: Member) -> "PassageQuerySet":
        """Return the passages of every version of the materials the member may read."""
        return self.filter(
            version__material__course=member.course,
            version__material__deleted_at=None,
            institution_id=member.course.institution_id,
        )

    def current(self) -> "PassageQuerySet":
        """Return the passages of the newest version of each material."""
        return self.filter(version=F("version__material__current_version"))


class AnswerQuerySet(models.QuerySet["Answer"]):
    def visible_to(self, member: Member) -> "AnswerQuerySet":
        """Return the answers to threads the member may read."""
        return self.filter(thread__in=Thread.objects.visible_to(member))

    def with_citations(self) -> "AnswerQuerySet":
        """Load citations with their source and endorsements with their names: two more queries at any number."""
        endorsements = _rows("AnswerEndorsement").select_related("endorser")
        return self.prefetch_related(
            Prefetch("citations", _rows("Citation").with_source()), Prefetch("endorsements", endorsements)
        )


class CitationQuerySet(models.QuerySet["Citation"]):
    def visible_to(self, member: Member) -> "CitationQuerySet":
        return self.filter(answer__thread__in=Thread.objects.visible_to(member))

    def with_source(self) -> "CitationQuerySet":
        """Join the source, and add `source_text`: what the stored version says at the cited offsets, now."""
        return (
            self.select_related("version__material", "passage")  # type: ignore[no-redef]  # declared on the model
            .defer("version__text", "passage__text", "passage__search")
            .annotate(source_text=Substr("version__text", F("start") + 1, F("end") - F("start")))
            .order_by("number")
        )
