"""What staff keep order with."""

import uuid

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.access import Member
from accounts.admin import ReadOnlyAdmin, ScopedRelatedFilter
from accounts.models import CourseStatus, User
from forum.actions import Decision, decide_flags
from forum.admin.base import BULK_REASON, ModeratedAdmin
from forum.models import Anonymity, Deflection, Flag, Merge, ThreadAlias


@admin.register(Flag)
class FlagAdmin(ModeratedAdmin[Flag]):
    """Without who flagged: people flag because nobody hears of it."""

    course_paths = ("thread__course",)
    fields = ("thread", "post", "reason", "details", "status", "decided_by", "decided_at", "decision", "created_at")
    raw_id_fields = ("thread", "post", "decided_by")
    list_display = ("created_at", "thread", "post", "reason", "status", "decided_by", "decided_at")
    list_filter = ("status", "reason", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course", "post", "decided_by")
    search_fields = ("details",)
    sought_through = ("thread",)
    date_hierarchy = "created_at"
    actions = ("dismiss", "uphold_and_hide")

    def describe(self, row: Flag) -> str:
        return f"The flag on {row.post or row.thread}"

    def why_refused(self, reader: User, row: Flag, done: str) -> str:
        text = row.post or row.thread
        if text.author_id == reader.pk and row.thread.course.status == CourseStatus.ACTIVE:
            return "it is about your own text: a colleague decides."
        return super().why_refused(reader, row, done)

    def would_unmask(self, by: Member, row: Flag) -> bool:
        text = row.post or row.thread
        return text.is_by(by) and text.anonymity != Anonymity.NAMED

    def decide(self, request: HttpRequest, flags: QuerySet[Flag], decision: Decision, done: str) -> None:
        """Decide about each flagged text once, whichever of its flags were chosen."""
        settled: set[uuid.UUID] = set()

        def act(by: Member, flag: Flag) -> None:
            text = flag.post or flag.thread
            if text.pk not in settled:
                if flag.post is not None:
                    flag.post.thread = flag.thread
                decide_flags(by=by, text=text, decision=decision, note=BULK_REASON if decision == Decision.HIDE else "")
                settled.add(text.pk)

        self.apply(request, flags, act, done)

    @admin.action(description="Dismiss (with all flags of the same text)", permissions=["moderate"])
    def dismiss(self, request: HttpRequest, queryset: QuerySet[Flag]) -> None:
        self.decide(request, queryset, Decision.DISMISS, "dismissed")

    @admin.action(description="Uphold and hide the text", permissions=["moderate"])
    def uphold_and_hide(self, request: HttpRequest, queryset: QuerySet[Flag]) -> None:
        self.decide(request, queryset, Decision.HIDE, "upheld")


@admin.register(Merge)
class MergeAdmin(ReadOnlyAdmin[Merge]):
    course_paths = ("target__course",)
    fields = ("source", "target", "by", "created_at", "undone_by", "undone_at")
    raw_id_fields = ("source", "target", "by", "undone_by")
    list_display = ("created_at", "source", "target", "by", "undone_at")
    list_filter = (("target__course", ScopedRelatedFilter),)
    list_select_related = ("source__course", "target__course", "by")
    sought_through = ("source", "target")
    date_hierarchy = "created_at"


@admin.register(ThreadAlias)
class ThreadAliasAdmin(ReadOnlyAdmin[ThreadAlias]):
    fields = ("course", "number", "thread")
    raw_id_fields = ("thread",)
    list_display = ("number", "course", "thread")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course", "thread__course")
    search_fields = ("=number",)
    sought_through = ("thread",)


@admin.register(Deflection)
class DeflectionAdmin(ReadOnlyAdmin[Deflection]):
    """Without whose question it was."""

    course_paths = ("course",)
    fields = ("course", "thread", "created_at")
    raw_id_fields = ("thread",)
    list_display = ("created_at", "course", "thread")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course", "thread__course")
    sought_through = ("thread",)
    date_hierarchy = "created_at"
