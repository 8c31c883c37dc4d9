"""Django admin for what courses are taught from."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import CourseScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from ai_answers.models import Material, MaterialImport, MaterialVersion, Passage, PassageVector


@admin.register(Material)
class MaterialAdmin(CourseScopedAdmin[Material]):
    """A new material or version comes in through its page, which cuts it into passages; so does a new title."""

    fixed_fields = ("course",)
    fields = ("course", "title", "kind", "current_version", "created_at", "deleted_at")
    readonly_fields = ("title", "current_version", "created_at", "deleted_at")
    autocomplete_fields = ("course",)
    list_display = ("title", "kind", "course", "current_version", "created_at")
    list_filter = (("course", ScopedRelatedFilter), "kind", ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("course", "current_version")
    search_fields = ("title",)
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Material]:
        return super().get_queryset(request).defer("current_version__text")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(MaterialVersion)
class MaterialVersionAdmin(ReadOnlyAdmin[MaterialVersion]):
    course_paths = ("material__course",)
    fields = ("material", "number", "format", "sha256", "created_by", "created_at", "text")
    raw_id_fields = ("material", "created_by")
    list_display = ("material", "number", "format", "created_by", "created_at")
    list_filter = (("material__course", ScopedRelatedFilter), "format")
    list_select_related = ("material__course", "created_by")
    search_fields = ("sha256",)
    sought_through = ("material",)
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MaterialVersion]:
        # Up to a million characters each: the page of one version loads its own.
        return super().get_queryset(request).defer("text")


@admin.register(Passage)
class PassageAdmin(ReadOnlyAdmin[Passage]):
    course_paths = ("version__material__course",)
    fields = ("version", "position", "heading", "locator_kind", "locator", "start", "end", "word_count", "text")
    raw_id_fields = ("version",)
    list_display = ("heading", "version", "position", "locator_kind", "locator", "start", "end", "word_count")
    list_filter = (("version__material__course", ScopedRelatedFilter), "locator_kind")
    list_select_related = ("version__material__course",)
    search_fields = ("heading", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Passage]:
        return super().get_queryset(request).defer("text", "search", "version__text")


@admin.register(MaterialImport)
class MaterialImportAdmin(ReadOnlyAdmin[MaterialImport]):
    """What became of each file. Where it lies in the storage is shown to nobody."""

    course_paths = ("course",)
    fields = (
        "course", "title", "kind", "format", "material", "version", "created_by", "original_name", "size", "state",
        "problem", "passages_done", "passages_total", "created_at", "finished_at",
    )  # fmt: skip
    raw_id_fields = ("material", "version", "created_by")
    list_display = ("title", "format", "course", "state", "problem", "passages_done", "passages_total", "created_at")
    list_filter = (("course", ScopedRelatedFilter), "state", "format")
    list_select_related = ("course",)
    search_fields = ("title", "original_name")
    date_hierarchy = "created_at"


@admin.register(PassageVector)
class PassageVectorAdmin(ReadOnlyAdmin[PassageVector]):
    """Which passages are found by meaning, by which model; the numbers themselves say nothing to people."""

    course_paths = ("passage__version__material__course",)
    fields = ("passage", "model", "part", "start", "end")
    raw_id_fields = ("passage",)
    list_display = ("passage", "model", "part", "start", "end")
    list_filter = (("passage__version__material__course", ScopedRelatedFilter), "model")
    list_select_related = ("passage__version__material__course",)
    sought_through = ("passage",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PassageVector]:
        heavy = ("vector", "passage__text", "passage__search", "passage__version__text")
        return super().get_queryset(request).defer(*heavy)
