"""Django admin for what institutions, operators and people decided about the AI. For operators alone."""

from typing import TypeVar

from django.contrib import admin
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import CourseScopedAdmin, ReadOnlyAdmin, reader_of
from accounts.models import User
from ai_answers.models import AIConsent, InstitutionAI, ModelPrice

Row = TypeVar("Row", bound=models.Model)


class ForOperators(CourseScopedAdmin[Row]):
    """Rows of no course: nobody but operators sees them."""

    course_paths = ()

    def in_reach_of(self, user: User, rows: QuerySet[Row]) -> QuerySet[Row]:
        return rows if user.is_superuser else rows.none()

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return reader_of(request).is_superuser and super().has_change_permission(request, obj)


@admin.register(InstitutionAI)
class InstitutionAIAdmin(ForOperators[InstitutionAI]):
    """The engine and the caps of an institution. Caps are per day (UTC), in millionths of a US dollar."""

    fixed_fields = ("institution",)
    fields = (
        "institution", "engine", "daily_cap_micros", "course_daily_cap_micros", "user_daily_cap_micros", "asks_per_hour",
    )  # fmt: skip
    list_display = ("institution", "engine", "daily_cap_micros", "course_daily_cap_micros", "user_daily_cap_micros")
    list_filter = ("engine",)
    list_select_related = ("institution",)
    sought_through = ("institution",)


@admin.register(ModelPrice)
class ModelPriceAdmin(ForOperators[ModelPrice]):
    """What models cost. One without a price isn't called; a server of one's own may cost 0."""

    fixed_fields = ("institution", "engine", "model", "valid_from")
    fields = ("institution", "engine", "model", "valid_from", "input_micros", "output_micros")
    list_display = ("engine", "model", "institution", "input_micros", "output_micros", "valid_from")
    list_filter = ("engine", "valid_from")
    list_select_related = ("institution",)
    search_fields = ("engine", "model")


@admin.register(AIConsent)
class AIConsentAdmin(ReadOnlyAdmin[AIConsent], ForOperators[AIConsent]):
    """Who agreed. They alone change it, on their own page."""

    fields = ("user", "is_given", "changed_at")
    raw_id_fields = ("user",)
    list_display = ("user", "is_given", "changed_at")
    list_filter = ("is_given",)
    list_select_related = ("user",)
    sought_through = ("user",)

    def has_delete_permission(self, request: HttpRequest, obj: AIConsent | None = None) -> bool:
        return False
