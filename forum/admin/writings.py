"""Threads, posts, and what they said before."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import (
    ReadOnlyAdmin,
    ScopedRelatedFilter,
)
from accounts.models import Course, CourseStatus, User
from forum import actions
from forum.admin.base import OfThreadOrPostAdmin, WritingAdmin
from forum.models import (
    Kind,
    Post,
    Revision,
    SearchEntry,
    StaffNote,
    Thread,
)


@admin.register(Thread)
class ThreadAdmin(WritingAdmin[Thread]):
    fields = (
        "course", "number", "title", "shown_author", "anonymity", "kind", "status", "visibility", "is_pinned",
        "is_locked", "moderation", "moderation_reason", "moderated_by", "moderated_at", "duplicate_of", "merged_into",
        "body", "accepted_post", "reply_count", "vote_count", "endorsement_count", "reader_count",
        "created_at", "edited_at", "last_activity_at", "deleted_at",
    )  # fmt: skip
    readonly_fields = ("shown_author",)
    list_display = (
        "number", "title", "course", "shown_author", "kind", "status", "is_pinned", "is_locked", "moderation",
        "is_deleted", "created_at", "page",
    )  # fmt: skip
    list_display_links = ("number", "title")
    list_filter = (
        ("course", ScopedRelatedFilter), "moderation", "status", "kind", "visibility", "is_pinned", "is_locked",
        ("deleted_at", admin.EmptyFieldListFilter), ("created_at", admin.DateFieldListFilter),
    )  # fmt: skip
    list_select_related = ("course", "author", "pseudonym")
    actions = (
        "pin", "unpin", "lock", "unlock", "resolve", "reopen", "hide", "unhide", "approve", "delete", "restore",
    )  # fmt: skip

    def with_number(self, rows: QuerySet[Thread], number: int, courses: QuerySet[Course]) -> QuerySet[Thread]:
        return rows.filter(number=number, course__in=courses)

    def with_words(self, entries: QuerySet[SearchEntry]) -> QuerySet[Any, Any]:
        return entries.filter(post=None).values("thread")

    def why_refused(self, reader: User, row: Thread, done: str) -> str:
        if row.course.status == CourseStatus.ACTIVE:
            if done == "restored":
                return "it isn't deleted."
            if row.deleted_at:
                return "it is deleted."
            if row.kind == Kind.ANNOUNCEMENT:
                return "there is nothing to settle in an announcement."
        return super().why_refused(reader, row, done)

    @admin.action(description="Pin", permissions=["moderate"])
    def pin(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_pinned(by=by, thread=row, pinned=True), "pinned")

    @admin.action(description="Unpin", permissions=["moderate"])
    def unpin(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_pinned(by=by, thread=row, pinned=False), "unpinned")

    @admin.action(description="Lock for replies by students", permissions=["moderate"])
    def lock(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_locked(by=by, thread=row, locked=True), "locked")

    @admin.action(description="Unlock", permissions=["moderate"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_locked(by=by, thread=row, locked=False), "unlocked")

    @admin.action(description="Mark resolved", permissions=["moderate"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(
            request, queryset, lambda by, row: actions.set_resolved(by=by, thread=row, resolved=True), "resolved"
        )

    @admin.action(description="Reopen", permissions=["moderate"])
    def reopen(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(
            request, queryset, lambda by, row: actions.set_resolved(by=by, thread=row, resolved=False), "reopened"
        )

    @admin.action(description="Delete (can be restored)", permissions=["moderate"])
    def delete(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.delete_thread(by=by, thread=row), "deleted")

    @admin.action(description="Restore", permissions=["moderate"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self.apply(request, queryset, lambda by, row: actions.restore_thread(by=by, thread=row), "restored")


@admin.register(Post)
class PostAdmin(WritingAdmin[Post]):
    course_paths = ("thread__course",)
    # Not `is_by_staff`: with so few people it could be, it would half name who hides.
    fields = (
        "thread", "parent", "shown_author", "anonymity", "body", "moderation", "moderation_reason", "moderated_by", "moderated_at",
        "vote_count", "endorsement_count", "created_at", "edited_at", "deleted_at",
    )  # fmt: skip
    readonly_fields = ("shown_author",)
    list_display = (
        "__str__", "thread", "course", "shown_author", "endorsement_count", "moderation", "is_deleted", "created_at", "page",
    )  # fmt: skip
    list_filter = (
        ("thread__course", ScopedRelatedFilter), "moderation", ("deleted_at", admin.EmptyFieldListFilter),
        ("created_at", admin.DateFieldListFilter),
    )  # fmt: skip
    list_select_related = ("thread__course", "author", "pseudonym")
    ordering = ("-created_at", "-id")
    actions = ("endorse", "unendorse", "hide", "unhide", "approve", "delete", "restore")

    def with_number(self, rows: QuerySet[Post], number: int, courses: QuerySet[Course]) -> QuerySet[Post]:
        return rows.filter(thread__number=number, thread__course__in=courses)

    def with_words(self, entries: QuerySet[SearchEntry]) -> QuerySet[Any, Any]:
        return entries.filter(post__isnull=False).values("post")

    def why_refused(self, reader: User, row: Post, done: str) -> str:
        if row.thread.course.status == CourseStatus.ACTIVE:
            if done == "restored":
                return "it isn't deleted."
            if row.deleted_at:
                return "it is deleted."
            if row.author_id == reader.pk:
                return "it is your own."
        return super().why_refused(reader, row, done)

    @admin.display(description="course", ordering="thread__course__code")
    def course(self, row: Post) -> Course:
        return row.thread.course

    def describe(self, row: Post) -> str:
        return f"{row} in {row.thread}"

    @admin.action(description="Endorse", permissions=["moderate"])
    def endorse(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_endorsement(by=by, post=row, on=True), "endorsed")

    @admin.action(description="Take back my endorsement", permissions=["moderate"])
    def unendorse(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        self.apply(request, queryset, lambda by, row: actions.set_endorsement(by=by, post=row, on=False), "unendorsed")

    @admin.action(description="Delete (can be restored)", permissions=["moderate"])
    def delete(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        self.apply(request, queryset, lambda by, row: actions.delete_post(by=by, post=row), "deleted")

    @admin.action(description="Restore", permissions=["moderate"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        self.apply(request, queryset, lambda by, row: actions.restore_post(by=by, post=row), "restored")


@admin.register(Revision)
class RevisionAdmin(OfThreadOrPostAdmin[Revision]):
    fields = ("thread", "post", "editor", "title", "body", "created_at")
    list_display = ("created_at", "thread", "post", "editor", "title")
    list_filter = (("thread__course", ScopedRelatedFilter), ("created_at", admin.DateFieldListFilter))
    list_select_related = (*OfThreadOrPostAdmin.list_select_related, "editor")
    search_fields = ("title", "body")
    date_hierarchy = "created_at"


@admin.register(StaffNote)
class StaffNoteAdmin(ReadOnlyAdmin[StaffNote]):
    course_paths = ("thread__course",)
    fields = ("thread", "author", "body", "created_at", "deleted_at")
    raw_id_fields = ("thread", "author")
    list_display = ("__str__", "thread", "author", "created_at", "deleted_at")
    list_filter = (("thread__course", ScopedRelatedFilter), ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("thread__course", "author")
    search_fields = ("body",)
    sought_through = ("thread",)
    date_hierarchy = "created_at"
