"""Django admin for evaluation: cases and runs, as they were kept."""

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from ai_answers.models import EvaluationCase, EvaluationRun


@admin.register(EvaluationCase)
class EvaluationCaseAdmin(ReadOnlyAdmin[EvaluationCase]):
    """A case says what was asked, never who asked: the answer it came from isn't shown."""

    course_paths = ("course",)
    fields = ("created_at", "course", "title", "expected", "start", "end")
    list_display = ("title", "course", "expected", "created_at")
    list_filter = ("expected",)
    list_select_related = ("course",)
    search_fields = ("title",)
    date_hierarchy = "created_at"


@admin.register(EvaluationRun)
class EvaluationRunAdmin(ReadOnlyAdmin[EvaluationRun]):
    course_paths = ("course",)
    fields = ("created_at", "course", "dataset", "engine", "model", "questions", "metrics")
    list_display = ("dataset", "course", "engine", "model", "questions", "created_at")
    list_filter = ("dataset", "engine")
    list_select_related = ("course",)
    search_fields = ("dataset", "engine", "model")
    date_hierarchy = "created_at"
