"""Django admin for the ledger."""

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin
from ai_answers.models import ModelCall


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin[ModelCall]):
    """The ledger: kept as it was written."""

    course_paths = ("course",)
    fields = (
        "created_at", "answer", "engine", "model", "outcome", "passages", "input_tokens", "output_tokens",
        "cost_micros", "duration_ms",
    )  # fmt: skip
    raw_id_fields = ("answer",)
    list_display = (
        "created_at", "engine", "model", "outcome", "passages", "input_tokens", "output_tokens", "cost_micros",
        "duration_ms",
    )  # fmt: skip
    list_filter = ("outcome", "engine", "model")
    list_select_related = ("answer__thread__course",)
    search_fields = ("engine", "model", "answer__thread__title")
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: ModelCall | None = None) -> bool:
        return False
