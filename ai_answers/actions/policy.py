"""What a course lets the machine do."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from accounts.access import Member, require_set_up
from accounts.actions import audit
from ai_answers.actions.answers import supersede
from ai_answers.models import PENDING, Answer, AnswerMode, CourseAI


@transaction.atomic
def set_course_ai(*, by: Member, fields: Mapping[str, Any]) -> CourseAI:
    """Save what the course lets the machine do. Switched off, it drops what it was about to write.

    Switched on again, it answers new questions: those asked meanwhile stay with people.
    """
    require_set_up(by, "ai")
    row, _ = CourseAI.objects.select_for_update().get_or_create(
        course=by.course, defaults={"institution_id": by.course.institution_id}
    )
    changed = [name for name, value in fields.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, fields[name])
    row.save(update_fields=changed or ["mode"])
    if changed:
        audit("course_ai.changed", row, by=by.user, course=by.course, fields=sorted(changed))
    if row.mode == AnswerMode.OFF:
        waiting = Answer.objects.current().filter(thread__course=by.course, status__in=PENDING)
        for answer in waiting.select_for_update(of=("self",), no_key=True).order_by("pk"):
            supersede(answer)
    return row
