"""Institutions, people, courses and who is in them."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.access import Refused
from accounts.actions import request_erasure, set_address
from accounts.admin.base import (
    CourseScopedAdmin,
    OperatedAdmin,
    ScopedRelatedFilter,
    WholeRowForm,
    of_institution,
    reader_of,
)
from accounts.models import Course, Enrollment, Institution, User
from quokkaq.lib import tenancy


@admin.register(Institution)
class InstitutionAdmin(OperatedAdmin[Institution]):
    course_paths = ()
    fields = ("name", "slug", "staff_second_factor", "created_at")
    readonly_fields = ("created_at",)
    operator_fields = ("slug",)
    list_display = ("name", "slug", "staff_second_factor", "created_at", "enter")
    list_filter = (
        "staff_second_factor",
        ("created_at", admin.DateFieldListFilter),
    )
    search_fields = ("name", "slug")

    def in_reach_of(self, user: User, rows: QuerySet[Institution]) -> QuerySet[Institution]:
        return rows if user.is_superuser else rows.filter(pk=user.institution_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reader_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Institution | None = None) -> bool:
        return reader_of(request).is_superuser

    # What is done to an institution is done in it, and stands in its own log.

    def save_model(self, request: HttpRequest, obj: Institution, form: Any, change: Any) -> None:
        with tenancy.scope(obj.pk, reader_of(request).pk):
            super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Institution) -> None:
        with tenancy.scope(obj.pk, reader_of(request).pk):
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for institution in queryset:
            self.delete_model(request, institution)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        return self.list_display if reader_of(request).is_superuser else self.list_display[:-1]

    @admin.display(description="Look into it")
    def enter(self, institution: Institution) -> str:
        url = reverse("accounts:enter-institution", args=[institution.pk])
        return format_html('<a href="{}">Enter</a>', url)


class EmailForm(forms.ModelForm[User]):
    """Keeps addresses in lower case, as signing in expects them."""

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class PersonAddForm(EmailForm, AdminUserCreationForm[User]):
    class Meta:
        model = User
        fields = ("email", "display_name", "institution")


class PersonForm(EmailForm, UserChangeForm[User]):
    class Meta:
        model = User
        fields = (
            "email", "password", "display_name", "pronouns", "institution", "time_zone", "theme",
            "is_active", "is_staff", "institution_role", "is_superuser", "groups", "user_permissions",
        )  # fmt: skip

    def clean_institution(self) -> Institution:
        institution: Institution = self.cleaned_data["institution"]
        if "institution" in self.changed_data and self.instance.enrollments.exists():
            raise ValidationError("This person is enrolled at their institution, and nothing crosses to another one.")
        return institution


@admin.register(User)
class UserAdmin(OperatedAdmin[User], DjangoUserAdmin[User]):
    """People. Staff see those enrolled in courses they run; accounts are the business of who runs the institution."""

    course_paths = ()
    form = PersonForm
    add_form = PersonAddForm
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("email", "display_name", "institution", "usable_password", "password1", "password2"),
            },
        ),
    )
    fieldsets = (
        (None, {"fields": ("email", "password", "display_name", "pronouns", "institution")}),
        ("Settings", {"fields": ("time_zone", "theme")}),
        (
            "Rights",
            {"fields": ("is_active", "is_staff", "institution_role", "is_superuser", "groups", "user_permissions")},
        ),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    # Rights beyond the institution are for operators to give.
    institution_fieldsets = (
        *fieldsets[:2],
        ("Rights", {"fields": ("is_active", "is_staff", "institution_role")}),
        fieldsets[3],
    )
    staff_fieldsets = ((None, {"fields": ("email", "display_name", "pronouns", "institution", "is_active")}),)
    readonly_fields = ("last_login", "created_at")
    autocomplete_fields = ("institution",)
    list_display = ("display_name", "email", "institution", "is_active", "is_staff", "institution_role")
    list_filter = ("is_active", "is_staff", "institution_role", ("institution", ScopedRelatedFilter))
    list_select_related = ("institution",)
    search_fields = ("display_name", "email")
    ordering = ("display_name", "id")

    actions = ("erase",)

    @admin.action(description="Erase in a week (they can keep their account until then)", permissions=["change"])
    def erase(self, request: HttpRequest, rows: QuerySet[User]) -> None:
        """Do for people what their own page does; whoever can't go yet is named."""
        for person in rows.order_by("pk"):
            try:
                request_erasure(by=reader_of(request), person=person)
            except Refused as refusal:
                self.message_user(request, f"{person.display_name}: {refusal}", messages.ERROR)
            else:
                self.message_user(request, f"{person.display_name} will be erased in a week.", messages.SUCCESS)

    def in_reach_of(self, user: User, rows: QuerySet[User]) -> QuerySet[User]:
        if user.runs_institution:
            return of_institution(user, rows)
        taught = Enrollment.objects.filter(course__in=Course.objects.run_by(user).order_by()).values("user")
        return rows.filter(Q(pk=user.pk) | Q(pk__in=taught.order_by()), institution_id=user.institution_id)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            set_address(by=reader_of(request), person=obj)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        reader = reader_of(request)
        if obj is not None and not reader.is_superuser:
            return self.institution_fieldsets if reader.is_institution_admin else self.staff_fieldsets
        return super().get_fieldsets(request, obj)


@admin.register(Course)
class CourseAdmin(CourseScopedAdmin[Course]):
    course_paths = ("pk",)
    fixed_fields = ("institution",)
    operator_fields = ("code", "slug", "status")
    fields = (
        "institution", "code", "name", "term", "slug", "description", "status", "last_thread_number", "created_at",
    )  # fmt: skip
    readonly_fields = ("last_thread_number", "created_at")
    autocomplete_fields = ("institution",)
    list_display = ("code", "name", "term", "institution", "status", "last_thread_number")
    list_filter = ("status", ("institution", ScopedRelatedFilter))
    list_select_related = ("institution",)
    search_fields = ("code", "name", "term", "slug")

    def course_of(self, row: Course) -> Course:
        return row


class EnrollmentForm(WholeRowForm):
    def clean(self) -> dict[str, Any]:
        data = super().clean()
        user, course = data.get("user"), data.get("course")
        if user and course and user.institution_id != course.institution_id:
            self.add_error("user", "This person belongs to another institution than the course.")
        return data


@admin.register(Enrollment)
class EnrollmentAdmin(OperatedAdmin[Enrollment]):
    form = EnrollmentForm
    fixed_fields = ("user", "course")
    fields = ("user", "course", "role", "status", "section", "sis_id", "created_at")
    readonly_fields = ("created_at",)
    autocomplete_fields = ("user", "course")
    list_display = ("user", "course", "role", "status", "section")
    list_filter = ("role", "status", ("course", ScopedRelatedFilter))
    list_select_related = ("user", "course")
    # The newest first, as their keys are.
    ordering = ("-id",)
    search_fields = ("section",)
    sought_through = ("user", "course")
