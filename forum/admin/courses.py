"""What a course sorts its threads by."""

from typing import Any

from django.contrib import admin

from accounts.admin import (
    CourseScopedAdmin,
    OperatedAdmin,
    ScopedRelatedFilter,
    WholeRowForm,
)
from forum.models import (
    Assignment,
    ResponseTemplate,
    Tag,
    ThreadTag,
)


@admin.register(Tag)
class TagAdmin(CourseScopedAdmin[Tag]):
    fixed_fields = ("course",)
    fields = ("course", "name", "slug")
    autocomplete_fields = ("course",)
    list_display = ("name", "slug", "course")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course",)
    search_fields = ("name", "slug")


class ThreadTagForm(WholeRowForm):
    def clean(self) -> dict[str, Any]:
        data = super().clean()
        thread, tag = data.get("thread"), data.get("tag")
        if thread and tag and thread.course_id != tag.course_id:
            self.add_error("tag", "This tag belongs to another course than the thread.")
        return data


@admin.register(ThreadTag)
class ThreadTagAdmin(OperatedAdmin[ThreadTag]):
    course_paths = ("thread__course",)
    form = ThreadTagForm
    fixed_fields = ("thread", "tag")
    fields = ("thread", "tag")
    autocomplete_fields = ("thread", "tag")
    list_display = ("thread", "tag")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course", "tag")
    sought_through = ("thread", "tag")


@admin.register(Assignment)
class AssignmentAdmin(CourseScopedAdmin[Assignment]):
    fixed_fields = ("course",)
    fields = ("course", "title", "slug", "due_at", "embargo_until")
    autocomplete_fields = ("course",)
    list_display = ("title", "course", "due_at", "embargo_until")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course",)
    search_fields = ("title", "slug")
    date_hierarchy = "due_at"


@admin.register(ResponseTemplate)
class ResponseTemplateAdmin(CourseScopedAdmin[ResponseTemplate]):
    fixed_fields = ("course",)
    fields = ("course", "category", "title", "body", "use_count", "created_at")
    readonly_fields = ("use_count", "created_at")
    autocomplete_fields = ("course",)
    list_display = ("title", "category", "course", "use_count", "updated_at")
    list_filter = ("category", ("course", ScopedRelatedFilter))
    list_select_related = ("course",)
    search_fields = ("title", "category", "body")
