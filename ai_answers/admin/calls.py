"""Django admin for the ledger."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin
from accounts.models import User
from ai_answers.admin.institution import ForOperators
from ai_answers.models import Disclosure, ModelCall, Spending, SpendingScope


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
    search_fields = ("engine", "model")
    sought_through = ("answer__thread",)
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: ModelCall | None = None) -> bool:
        return False


@admin.register(Spending)
class SpendingAdmin(ReadOnlyAdmin[Spending], ForOperators[Spending]):
    """What institutions and courses spent, day by day. What one person spent isn't shown: it tells who asked."""

    fields = ("day", "scope", "institution", "scope_id", "calls", "spent_micros", "reserved_micros")
    list_display = ("day", "scope", "institution", "scope_id", "calls", "spent_micros", "reserved_micros")
    list_filter = ("scope", "day")
    list_select_related = ("institution",)
    search_fields = ("scope",)
    sought_through = ("institution",)
    date_hierarchy = "day"

    def in_reach_of(self, user: User, rows: QuerySet[Spending]) -> QuerySet[Spending]:
        return super().in_reach_of(user, rows).exclude(scope=SpendingScope.USER)

    def has_delete_permission(self, request: HttpRequest, obj: Spending | None = None) -> bool:
        return False


@admin.register(Disclosure)
class DisclosureAdmin(ReadOnlyAdmin[Disclosure], ForOperators[Disclosure]):
    """That something was sent, to whom and when. What, and for whom, only that person reads."""

    fields = ("sent_at", "institution", "provider", "model")
    list_display = ("sent_at", "institution", "provider", "model")
    list_filter = ("provider", "model")
    list_select_related = ("institution",)
    search_fields = ("provider", "model")
    date_hierarchy = "sent_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Disclosure]:
        return super().get_queryset(request).defer("text")

    def has_delete_permission(self, request: HttpRequest, obj: Disclosure | None = None) -> bool:
        return False
