"""Django admin for what courses let the machine do, and how sure it learned to be. Both change on their pages."""

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin, ScopedRelatedFilter
from ai_answers.models import Calibration, CourseAI


@admin.register(CourseAI)
class CourseAIAdmin(ReadOnlyAdmin[CourseAI]):
    fields = (
        "course", "mode", "engine", "publish_from", "draft_from", "daily_cap_micros", "conversations", "previews",
    )  # fmt: skip
    raw_id_fields = ("course",)
    list_display = ("course", "mode", "engine", "publish_from", "draft_from", "conversations", "previews")
    list_filter = ("mode", "engine", "conversations", "previews", ("course", ScopedRelatedFilter))
    list_select_related = ("course",)
    sought_through = ("course",)


@admin.register(Calibration)
class CalibrationAdmin(ReadOnlyAdmin[Calibration]):
    """One of a whole institution has no course, and is shown to operators."""

    fields = ("course", "method", "parameters", "judged", "endorsed", "brier", "calibration_error", "created_at")
    raw_id_fields = ("course",)
    list_display = ("created_at", "course", "method", "judged", "endorsed", "brier", "calibration_error")
    list_filter = ("method", ("course", ScopedRelatedFilter))
    list_select_related = ("course",)
    sought_through = ("course",)
    date_hierarchy = "created_at"
