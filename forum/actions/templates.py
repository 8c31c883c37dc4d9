"""Texts that staff answer with again and again."""

import uuid
from collections.abc import Collection

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.access import Member, require_set_up
from accounts.actions import audit, lock_course
from forum import access
from forum.models import ResponseTemplate


@transaction.atomic
def save_template(
    *, by: Member, template: ResponseTemplate | None, title: str, category: str, body: str
) -> ResponseTemplate:
    """Add a template to the course, or change one. Raises `Refused` when another one has that title."""
    require_set_up(by, "templates")
    course = lock_course(by)
    theirs = ResponseTemplate.objects.visible_to(by)
    others = theirs.exclude(pk=template.pk) if template else theirs
    if others.filter(title__iexact=title).exists():
        raise access.Refused(f"There is a template “{title}” already. Give this one another title.")
    if template is None:
        template = ResponseTemplate(institution_id=course.institution_id, course=course, created_by=by.user)
        verb = "template.added"
    else:
        template = theirs.select_for_update(no_key=True).filter(pk=template.pk).first()
        if template is None:
            raise access.Refused("Somebody has deleted this template. Copy your text if you want to add it again.")
        verb = "template.edited"
    template.title, template.category, template.body = title, category, body
    template.updated_at = timezone.now()
    template.save()
    audit(verb, template, by=by.user, course=course)
    return template


@transaction.atomic
def delete_template(*, by: Member, template: ResponseTemplate) -> None:
    """Take a template away. What was posted with it stays."""
    require_set_up(by, "templates")
    audit("template.deleted", template, by=by.user, course=by.course)
    template.delete()


def count_use(by: Member, templates: Collection[uuid.UUID]) -> None:
    """Count that a text made from these templates was posted. Called inside the transaction that posts it."""
    ResponseTemplate.objects.visible_to(by).filter(pk__in=templates).update(use_count=F("use_count") + 1)
