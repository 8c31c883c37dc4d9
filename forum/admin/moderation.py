"""What staff keep order with."""

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin, ScopedRelatedFilter
from forum.admin.base import ModeratedAdmin
from forum.models import Deflection, Flag, Merge, ThreadAlias


@admin.register(Flag)
class FlagAdmin(ModeratedAdmin[Flag]):
    """Without who flagged: people flag because nobody hears of it."""

    course_paths = ("thread__course",)
    fields = ("thread", "post", "reason", "details", "status", "decided_by", "decided_at", "decision", "created_at")
    raw_id_fields = ("thread", "post", "decided_by")
    list_display = ("created_at", "thread", "post", "reason", "status", "decided_by", "decided_at")
    list_filter = ("status", "reason", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course", "post", "decided_by")
    search_fields = ("thread__title", "details")
    date_hierarchy = "created_at"


@admin.register(Merge)
class MergeAdmin(ReadOnlyAdmin[Merge]):
    course_paths = ("target__course",)
    fields = ("source", "target", "by", "created_at", "undone_by", "undone_at")
    raw_id_fields = ("source", "target", "by", "undone_by")
    list_display = ("created_at", "source", "target", "by", "undone_at")
    list_filter = (("target__course", ScopedRelatedFilter),)
    list_select_related = ("source__course", "target__course", "by")
    search_fields = ("source__title", "target__title")
    date_hierarchy = "created_at"


@admin.register(ThreadAlias)
class ThreadAliasAdmin(ReadOnlyAdmin[ThreadAlias]):
    fields = ("course", "number", "thread")
    raw_id_fields = ("thread",)
    list_display = ("number", "course", "thread")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course", "thread__course")
    search_fields = ("=number", "thread__title")


@admin.register(Deflection)
class DeflectionAdmin(ReadOnlyAdmin[Deflection]):
    """Without whose question it was."""

    course_paths = ("course",)
    fields = ("course", "thread", "created_at")
    raw_id_fields = ("thread",)
    list_display = ("created_at", "course", "thread")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course", "thread__course")
    search_fields = ("thread__title",)
    date_hierarchy = "created_at"
