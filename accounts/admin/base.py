"""The scope every admin page of ours keeps to."""

from functools import reduce
from operator import or_
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.text import capfirst

from accounts.actions import audit
from accounts.models import Course, CourseStatus, Institution, Tenanted, User
from quokkaq.lib import tenancy

Row = TypeVar("Row", bound=models.Model)

# What a filter of ours may add to its field's name in the address.
_FILTER_LOOKUPS = ("", "__exact", "__id__exact", "__isnull", "__isempty", "__gte", "__lt", "__year", "__month", "__day")


def reader_of(request: HttpRequest) -> User:
    """Return who is signed in, or raise 403."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def of_institution(user: User, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the rows of the institution `user` runs, or has entered as operator."""
    institution = (tenancy.institution() or user.institution_id) if user.is_superuser else user.institution_id
    return rows.filter(institution_id=institution) if issubclass(rows.model, Tenanted) else rows


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


class BoundedPaginator(Paginator[Any]):
    """Counts, and turns pages, no further than `MOST` rows: who looks for something further down narrows the list.

    So the last page costs no more than `MOST` steps in an index, and counting no more at any size.
    """

    MOST = 10_000

    @cached_property
    def found(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: self.MOST + 1].count())

    @cached_property
    def count(self) -> int:
        return min(self.found, self.MOST)

    @property
    def is_cut(self) -> bool:
        return self.found > self.MOST


class CourseScopedAdmin(admin.ModelAdmin[Row]):
    """Shows staff the rows of courses they run, and lets them change what isn't fixed.

    Only who runs the institution (its administrators, and operators who have entered it) sees all of it, adds and deletes. What is done here leaves an audit row, like what is done on the pages.
    """

    # The ways from the model to its course; a row is in reach when one of them leads to a course the reader runs.
    course_paths: ClassVar[tuple[str, ...]] = ("course",)
    # Chosen when the row is made and never again: changing them would move it to another course or institution.
    fixed_fields: ClassVar[tuple[str, ...]] = ()
    # Shown to course staff, changed by who runs the institution.
    operator_fields: ClassVar[tuple[str, ...]] = ()

    form: type[forms.ModelForm[Any]] = WholeRowForm
    show_full_result_count = False
    # Each would count all rows once for every choice.
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    list_per_page = 50
    list_select_related: ClassVar[tuple[str, ...]] = ()
    # The ways to what a row belongs to: it is found by what the search on that one's own page finds.
    sought_through: ClassVar[tuple[str, ...]] = ()
    # Instead of a join with all there is: so many are looked at, each by its index.
    SOUGHT = 1000

    @property
    def search_help_text(self) -> str:  # type: ignore[override]  # a text for each page
        """Say what a row is found by, beside its own fields."""
        if not self.sought_through:
            return ""
        reached = [self._reached(path)._meta for path in dict.fromkeys(self.sought_through)]
        names = dict.fromkeys(str(meta.verbose_name) for meta in reached)
        places = dict.fromkeys(capfirst(str(meta.verbose_name_plural)) for meta in reached)
        found = "Also found" if self.search_fields else "Found"
        return (
            f"{found} by {' or '.join(names)}: what is typed is looked for as under {' and '.join(places)}."
            f" Of many, the first {self.SOUGHT} count."
        )

    def get_search_fields(self, request: HttpRequest) -> list[str] | tuple[str, ...]:
        """Return the row's own fields, or something that has the page show its search."""
        return super().get_search_fields(request) or (("pk",) if self.sought_through else ())

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        if not (self.sought_through and search_term.strip()):
            return super().get_search_results(request, queryset, search_term)
        bare = queryset.order_by()
        ways: list[QuerySet[Row]] = []
        if self.search_fields:
            ways.append(super().get_search_results(request, bare, search_term)[0])
        found: dict[type[models.Model], list[Any]] = {}
        for path in self.sought_through:
            model = self._reached(path)
            if model not in found:
                page = self.admin_site.get_model_admin(model)
                rows, _ = page.get_search_results(request, page.get_queryset(request).order_by(), search_term)
                found[model] = list(rows.values_list("pk", flat=True)[: self.SOUGHT])
            ways.append(bare.filter(**{f"{path}__in": found[model]}))
        keys = {key for rows in ways for key in rows.values_list("pk", flat=True)[: self.SOUGHT]}
        return queryset.filter(pk__in=keys), False

    def _reached(self, path: str) -> type[models.Model]:
        model: type[models.Model] = self.model
        for step in path.split("__"):
            reached: Any = model._meta.get_field(step)
            model = reached.related_model
        return model

    # What is in reach

    def get_queryset(self, request: HttpRequest) -> QuerySet[Row]:
        rows = self.in_reach_of(reader_of(request), super().get_queryset(request))
        # Here rather than in the list only: the page of one row shows the same related rows.
        return rows.select_related(*self.list_select_related) if self.list_select_related else rows

    def in_reach_of(self, user: User, rows: QuerySet[Row]) -> QuerySet[Row]:
        """Return those of `rows` that `user` may see."""
        if user.runs_institution:
            return of_institution(user, rows)
        run = Course.objects.run_by(user).order_by().values("pk")
        if issubclass(rows.model, Tenanted):  # nobody runs courses elsewhere; it lets the order be read from an index
            rows = rows.filter(institution_id=user.institution_id)
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
            reach = self.admin_site.get_model_admin(target).get_queryset(request)
            if target is Institution:  # others are listed for operators, to be entered first
                reach = reach.filter(pk=tenancy.institution())
            kwargs["queryset"] = reach
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
        return reader_of(request).runs_institution and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        course = self.course_of(obj) if obj is not None else None
        return course is None or course.status == CourseStatus.ACTIVE or reader_of(request).runs_institution

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return reader_of(request).runs_institution and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Row | None = None) -> list[str]:
        fields = [*super().get_readonly_fields(request, obj)]
        if obj is not None:
            fields += self.fixed_fields
        if not reader_of(request).runs_institution:
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
    """Course staff look; who runs the institution changes."""

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return reader_of(request).runs_institution and super().has_change_permission(request, obj)


class ReadOnlyAdmin(CourseScopedAdmin[Row]):
    """Nobody edits these rows here: something else makes and keeps them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False
