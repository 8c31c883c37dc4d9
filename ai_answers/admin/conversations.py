"""Django admin for conversations and summaries: that they are there and how they went, never what is said in them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin, ScopedRelatedFilter
from accounts.models import User
from ai_answers.models import Conversation, Message, SummaryPoint, ThreadSummary


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin[Conversation]):
    """For operators: without title, thread and person, who would be known by them."""

    course_paths = ()
    fields = ("course", "kind", "created_at", "last_message_at")
    list_display = ("course", "kind", "created_at", "last_message_at")
    list_filter = ("kind", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("course",)
    sought_through = ("course",)
    date_hierarchy = "created_at"

    def in_reach_of(self, user: User, rows: QuerySet[Conversation]) -> QuerySet[Conversation]:
        return rows if user.is_superuser else rows.none()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        return super().get_queryset(request).defer("title")


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin[Message]):
    """For operators: how answers went, and why they failed."""

    course_paths = ()
    fields = (
        "speaker", "state", "engine", "model", "is_remote", "is_hint", "attempts", "error_code", "unsupported_count",
        "created_at", "finished_at",
    )  # fmt: skip
    list_display = ("created_at", "speaker", "state", "engine", "model", "attempts", "error_code", "finished_at")
    list_filter = ("speaker", "state", "engine", "is_remote", "error_code")
    search_fields = ("error_code", "engine", "model")
    date_hierarchy = "created_at"

    def in_reach_of(self, user: User, rows: QuerySet[Message]) -> QuerySet[Message]:
        return rows if user.is_superuser else rows.none()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).defer("body", "body_html")


@admin.register(ThreadSummary)
class ThreadSummaryAdmin(ReadOnlyAdmin[ThreadSummary]):
    course_paths = ("thread__course",)
    fields = ("thread", "state", "engine", "error_code", "created_at", "finished_at")
    raw_id_fields = ("thread",)
    list_display = ("thread", "state", "engine", "error_code", "created_at", "finished_at")
    list_filter = ("state", "engine", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course",)
    search_fields = ("error_code",)
    sought_through = ("thread",)
    date_hierarchy = "created_at"


@admin.register(SummaryPoint)
class SummaryPointAdmin(ReadOnlyAdmin[SummaryPoint]):
    """The points and where they come from. Without the words of the post: staff read those where they stand."""

    course_paths = ("summary__thread__course",)
    fields = ("summary", "number", "text")
    raw_id_fields = ("summary",)
    list_display = ("thread", "number", "text")
    list_filter = (("summary__thread__course", ScopedRelatedFilter),)
    list_select_related = ("summary__thread__course",)
    search_fields = ("text",)
    sought_through = ("summary__thread",)

    @admin.display(description="thread")
    def thread(self, row: SummaryPoint) -> str:
        return str(row.summary.thread)
