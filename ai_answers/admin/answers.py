"""Django admin for what the machine said and quoted."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin, ScopedRelatedFilter
from accounts.models import Course, CourseStatus, User
from ai_answers import actions
from ai_answers.models import Answer, AnswerEndorsement, AnswerFeedback, AnswerStatus, Citation, WithdrawalReason
from forum.admin import ModeratedAdmin


class CitationInline(admin.TabularInline[Citation, Answer]):
    """The quotations of an answer, as they are."""

    model = Citation
    fields = readonly_fields = ("number", "quote", "source", "start", "end")
    ordering = ("number",)
    can_delete = False
    show_change_link = True
    extra = 0

    @admin.display(description="source")
    def source(self, row: Citation) -> str:
        return f"{row.version.material}, {row.version}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Citation]:
        return super().get_queryset(request).select_related("version__material").defer("version__text")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Answer)
class AnswerAdmin(ModeratedAdmin[Answer]):
    course_paths = ("thread__course",)
    fields = (
        "thread", "is_current", "status", "is_hint", "engine", "model", "prompt", "attempts", "error_code", "queued_at",
        "finished_at", "confidence", "features", "calibration", "unsupported_count", "dropped_count",
        "endorsement_count", "helpful_count", "unhelpful_count", "edited_by", "edited_at", "edit_distance",
        "withdrawn_by", "withdrawn_at", "withdrawal_reason", "body", "original_body",
    )  # fmt: skip
    raw_id_fields = ("thread", "calibration", "edited_by", "withdrawn_by")
    inlines = (CitationInline,)
    list_display = (
        "thread", "course", "status", "is_hint", "engine", "confidence", "attempts", "error_code", "endorsement_count",
        "helpful_count", "unhelpful_count", "queued_at", "finished_at",
    )  # fmt: skip
    list_filter = (
        "status", "is_hint", "engine", "withdrawal_reason", "error_code", ("thread__course", ScopedRelatedFilter),
    )  # fmt: skip
    list_select_related = ("thread__course", "edited_by", "withdrawn_by", "calibration")
    search_fields = ("body", "error_code")
    sought_through = ("thread",)
    date_hierarchy = "queued_at"
    actions = ("endorse", "unendorse", "publish", "withdraw", "regenerate")

    @admin.display(description="course", ordering="thread__course__code")
    def course(self, row: Answer) -> Course:
        return row.thread.course

    def view_on_site(self, obj: Answer) -> str:
        return obj.thread.get_absolute_url()

    def describe(self, row: Answer) -> str:
        return f"The answer to {row.thread}"

    def why_refused(self, reader: User, row: Answer, done: str) -> str:
        if row.thread.course.status == CourseStatus.ACTIVE and done == "published":
            return "it isn't a draft."
        if row.thread.course.status == CourseStatus.ACTIVE and not row.is_shown and row.status != AnswerStatus.DRAFT:
            return "it isn't published, nor a draft."
        return super().why_refused(reader, row, done)

    @admin.action(description="Endorse", permissions=["moderate"])
    def endorse(self, request: HttpRequest, queryset: QuerySet[Answer]) -> None:
        self.apply(
            request, queryset, lambda by, row: actions.set_answer_endorsement(by=by, answer=row, on=True), "endorsed"
        )

    @admin.action(description="Take back my endorsement", permissions=["moderate"])
    def unendorse(self, request: HttpRequest, queryset: QuerySet[Answer]) -> None:
        self.apply(
            request, queryset, lambda by, row: actions.set_answer_endorsement(by=by, answer=row, on=False), "unendorsed"
        )

    @admin.action(description="Publish drafts, without endorsing them", permissions=["moderate"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Answer]) -> None:
        self.apply(request, queryset, lambda by, row: actions.publish_answer(by=by, answer=row), "published")

    @admin.action(description="Withdraw", permissions=["moderate"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Answer]) -> None:
        reason = WithdrawalReason.STAFF
        self.apply(
            request, queryset, lambda by, row: actions.withdraw_answer(by=by, answer=row, reason=reason), "withdrawn"
        )

    @admin.action(description="Have it written anew", permissions=["moderate"])
    def regenerate(self, request: HttpRequest, queryset: QuerySet[Answer]) -> None:
        self.apply(request, queryset, lambda by, row: actions.regenerate_answer(by=by, answer=row), "asked for again")


@admin.register(AnswerFeedback)
class AnswerFeedbackAdmin(ReadOnlyAdmin[AnswerFeedback]):
    """What readers say. Who said it stands on no page, so it doesn't stand here."""

    course_paths = ("answer__thread__course",)
    fields = ("answer", "is_helpful", "reason", "comment", "wants_person", "created_at")
    raw_id_fields = ("answer",)
    list_display = ("thread", "is_helpful", "reason", "wants_person", "created_at")
    list_filter = ("is_helpful", "reason", "wants_person", ("answer__thread__course", ScopedRelatedFilter))
    list_select_related = ("answer__thread__course",)
    search_fields = ("comment",)
    sought_through = ("answer__thread",)
    date_hierarchy = "created_at"

    @admin.display(description="answer to")
    def thread(self, row: AnswerFeedback) -> str:
        return str(row.answer.thread)


@admin.register(AnswerEndorsement)
class AnswerEndorsementAdmin(ReadOnlyAdmin[AnswerEndorsement]):
    course_paths = ("answer__thread__course",)
    fields = ("answer", "endorser", "role", "created_at")
    raw_id_fields = ("answer", "endorser")
    list_display = ("thread", "endorser", "role", "created_at")
    list_filter = ("role", ("answer__thread__course", ScopedRelatedFilter))
    list_select_related = ("answer__thread__course", "endorser")
    sought_through = ("answer__thread", "endorser")
    date_hierarchy = "created_at"

    @admin.display(description="answer to")
    def thread(self, row: AnswerEndorsement) -> str:
        return str(row.answer.thread)


@admin.register(Citation)
class CitationAdmin(ReadOnlyAdmin[Citation]):
    course_paths = ("answer__thread__course",)
    fields = ("answer", "number", "version", "passage", "start", "end", "quote")
    raw_id_fields = ("answer", "version", "passage")
    list_display = ("thread", "number", "material", "start", "end", "quote")
    list_filter = (("answer__thread__course", ScopedRelatedFilter),)
    list_select_related = ("answer__thread__course", "version__material", "passage")
    search_fields = ("quote",)
    sought_through = ("answer__thread", "version__material")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Citation]:
        # What stands in a private conversation is nobody's business.
        rows = super().get_queryset(request).filter(answer__isnull=False)
        return rows.defer("version__text", "passage__text", "passage__search")

    @admin.display(description="answer to")
    def thread(self, row: Citation) -> str:
        return str(row.answer.thread) if row.answer else ""

    @admin.display(description="source")
    def material(self, row: Citation) -> str:
        return f"{row.version.material}, {row.version}"
