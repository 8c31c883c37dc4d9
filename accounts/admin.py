"""Django admin for people and courses, and the scope every other admin page of ours keeps to."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.actions import audit
from accounts.models import AuditEvent, Course, CourseStatus, Enrollment, Institution, Tenanted, User

admin.site.site_header = admin.site.site_title = "QuokkaQ administration"

Row = TypeVar("Row", bound=models.Model)

# What a filter of ours may add to its field's name in the address.
_FILTER_LOOKUPS = ("", "__exact", "__id__exact", "__isnull", "__isempty", "__gte", "__lt", "__year", "__month", "__day")


def reader_of(request: HttpRequest) -> User:
    """Return who is signed in, or raise 403."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class ScopedRelatedFilter(admin.RelatedFieldListFilter):
    """Offers only rows the reader may open; Django's own filter would list every course there is."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[Any]:
        reach = model_admin.admin_site.get_model_admin(field.remote_field.model).get_queryset(request)
        choices: list[Any] = field.get_choices(
            include_blank=False,
            ordering=self.field_admin_ordering(field, request, model_admin),
            limit_choices_to={"pk__in": reach.order_by().values("pk")},
        )
        return choices


class WholeRowForm(forms.ModelForm[Any]):
    """Checks every constraint. Django skips one that involves a read-only field, and the database would answer 500."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors and not self.instance._state.adding:
            forms.models.construct_instance(self, self.instance, self.fields).validate_constraints()
        return data


class CourseScopedAdmin(admin.ModelAdmin[Row]):
    """Shows staff the rows of courses they run, and lets them change what isn't fixed. Operators see everything.

    Only operators add and delete. What is done here leaves an audit row, like what is done on the pages.
    """

    # The ways from the model to its course; a row is in reach when one of them leads to a course the reader runs.
    course_paths: ClassVar[tuple[str, ...]] = ("course",)
    # Chosen when the row is made and never again: changing them would move it to another course or institution.
    fixed_fields: ClassVar[tuple[str, ...]] = ()
    # Shown to course staff, changed by operators only.
    operator_fields: ClassVar[tuple[str, ...]] = ()

    form: type[forms.ModelForm[Any]] = WholeRowForm
    show_full_result_count = False
    list_per_page = 50
    list_select_related: ClassVar[tuple[str, ...]] = ()

    # What is in reach

    def get_queryset(self, request: HttpRequest) -> QuerySet[Row]:
        rows = self.in_reach_of(reader_of(request), super().get_queryset(request))
        # Here rather than in the list only: the page of one row shows the same related rows.
        return rows.select_related(*self.list_select_related) if self.list_select_related else rows

    def in_reach_of(self, user: User, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Return those of `rows` that `user` may see."""
        if user.is_superuser:
            return rows
        run = Course.objects.run_by(user).order_by().values("pk")
        return rows.filter(reduce(or_, (Q(**{f"{path}__in": run}) for path in self.course_paths)))

    def course_of(self, row: Row) -> Course | None:
        """Return the course the row belongs to; None when it belongs to none."""
        for path in self.course_paths:
            found: Any = row
            for step in path.split("__"):
                found = getattr(found, step, None)
            if isinstance(found, Course):
                return found
        return None

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Accept as a choice only what the reader could open in the admin."""
        target = db_field.remote_field.model
        if self.admin_site.is_registered(target):
            kwargs["queryset"] = self.admin_site.get_model_admin(target).get_queryset(request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow the filters on the page and nothing else.

        Django allows any field of the model, so `?author=…` would tell who wrote what, shown or not.
        """
        names = {"pk", "id", self.date_hierarchy}
        for item in self.get_list_filter(request):
            if isinstance(item, type):
                names.add(getattr(item, "parameter_name", None))
            else:
                names.add(str(item[0] if isinstance(item, tuple | list) else item))
        return any(lookup == f"{name}{ending}" for name in names if name for ending in _FILTER_LOOKUPS)

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return reader_of(request).is_superuser and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        course = self.course_of(obj) if obj is not None else None
        return course is None or course.status == CourseStatus.ACTIVE or reader_of(request).is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return reader_of(request).is_superuser and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Row | None = None) -> list[str]:
        fields = [*super().get_readonly_fields(request, obj)]
        if obj is not None:
            fields += self.fixed_fields
        if not reader_of(request).is_superuser:
            fields += self.operator_fields
        return fields

    # What is written

    def save_model(self, request: HttpRequest, obj: Row, form: Any, change: Any) -> None:
        course = self.course_of(obj)
        if not change and course is not None and isinstance(obj, Tenanted) and not isinstance(obj, Course):
            obj.institution_id = course.institution_id
        super().save_model(request, obj, form, change)
        if form.changed_data or not change:
            verb = f"{obj._meta.model_name}.{'changed' if change else 'added'}"
            audit(verb, obj, by=reader_of(request), course=course, fields=sorted(form.changed_data))

    def delete_model(self, request: HttpRequest, obj: Row) -> None:
        audit(f"{obj._meta.model_name}.erased", obj, by=reader_of(request), course=self.course_of(obj))
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            audit(f"{row._meta.model_name}.erased", row, by=reader_of(request), course=self.course_of(row))
        super().delete_queryset(request, queryset)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], Any, set[str], list[str]]:
        """Say how much would go, not what: the list would tie a person to what they read and voted for."""
        _, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        return [str(row) for row in objs], counts, forbidden, protected


class OperatedAdmin(CourseScopedAdmin[Row]):
    """Course staff look, operators change."""

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return reader_of(request).is_superuser and super().has_change_permission(request, obj)


class ReadOnlyAdmin(CourseScopedAdmin[Row]):
    """Nobody edits these rows here: something else makes and keeps them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False


@admin.register(Institution)
class InstitutionAdmin(OperatedAdmin[Institution]):
    course_paths = ()
    fields = ("name", "slug", "created_at")
    readonly_fields = ("created_at",)
    list_display = ("name", "slug", "created_at")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    search_fields = ("name", "slug")

    def in_reach_of(self, user: User, rows: QuerySet[Institution]) -> QuerySet[Institution]:
        return rows if user.is_superuser else rows.filter(pk=user.institution_id)


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
            "is_active", "is_staff", "is_superuser", "groups", "user_permissions",
        )  # fmt: skip

    def clean_institution(self) -> Institution:
        institution: Institution = self.cleaned_data["institution"]
        if "institution" in self.changed_data and self.instance.enrollments.exists():
            raise ValidationError("This person is enrolled at their institution, and nothing crosses to another one.")
        return institution


@admin.register(User)
class UserAdmin(OperatedAdmin[User], DjangoUserAdmin[User]):
    """People. Staff see those enrolled in courses they run; accounts and rights are the operators' business."""

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
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "created_at")}),
    )
    staff_fieldsets = ((None, {"fields": ("email", "display_name", "pronouns", "institution", "is_active")}),)
    readonly_fields = ("last_login", "created_at")
    autocomplete_fields = ("institution",)
    list_display = ("display_name", "email", "institution", "is_active", "is_staff")
    list_filter = ("is_active", "is_staff", ("institution", ScopedRelatedFilter))
    list_select_related = ("institution",)
    search_fields = ("display_name", "email")
    ordering = ("display_name", "id")

    def in_reach_of(self, user: User, rows: QuerySet[User]) -> QuerySet[User]:
        if user.is_superuser:
            return rows
        taught = Enrollment.objects.filter(course__in=Course.objects.run_by(user).order_by()).values("user")
        return rows.filter(Q(pk=user.pk) | Q(pk__in=taught.order_by()), institution_id=user.institution_id)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is not None and not reader_of(request).is_superuser:
            return self.staff_fieldsets
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
    fields = ("user", "course", "role", "status", "section", "created_at")
    readonly_fields = ("created_at",)
    autocomplete_fields = ("user", "course")
    list_display = ("user", "course", "role", "status", "section")
    list_filter = ("role", "status", ("course", ScopedRelatedFilter))
    list_select_related = ("user", "course")
    search_fields = ("user__display_name", "user__email", "course__code", "course__name", "section")


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin[AuditEvent]):
    """The log. Nobody changes it, operators neither."""

    fields = ("created_at", "verb", "actor", "course", "target_type", "target_id", "data", "request_id")
    list_display = ("created_at", "verb", "actor", "course", "target_type", "target_id", "request_id")
    list_filter = ("verb", ("course", ScopedRelatedFilter))
    list_select_related = ("actor", "course")
    search_fields = ("verb", "request_id")
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False
