"""Django admin for materials and the machine's answers: what it read, said, quoted and cost."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import CourseScopedAdmin, ReadOnlyAdmin, ScopedRelatedFilter
from accounts.models import Course, CourseStatus, User
from ai_answers import actions
from ai_answers.models import (
    Answer,
    AnswerEndorsement,
    AnswerStatus,
    Citation,
    Material,
    MaterialVersion,
    ModelCall,
    Passage,
)
from forum.admin import ModeratedAdmin


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
    search_fields = ("material__title", "sha256")
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MaterialVersion]:
        # Up to a million characters each: the page of one version loads its own.
        return super().get_queryset(request).defer("text")


@admin.register(Passage)
class PassageAdmin(ReadOnlyAdmin[Passage]):
    course_paths = ("version__material__course",)
    fields = ("version", "position", "heading", "start", "end", "word_count", "text")
    raw_id_fields = ("version",)
    list_display = ("heading", "version", "position", "start", "end", "word_count")
    list_filter = (("version__material__course", ScopedRelatedFilter),)
    list_select_related = ("version__material__course",)
    search_fields = ("heading", "text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Passage]:
        return super().get_queryset(request).defer("text", "search", "version__text")


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
        "thread", "status", "engine", "attempts", "error_code", "queued_at", "finished_at", "endorsement_count", "body",
    )  # fmt: skip
    raw_id_fields = ("thread",)
    inlines = (CitationInline,)
    list_display = (
        "thread", "course", "status", "engine", "attempts", "error_code", "endorsement_count", "queued_at",
        "finished_at",
    )  # fmt: skip
    list_filter = ("status", "engine", "error_code", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course",)
    search_fields = ("thread__title", "body", "error_code")
    date_hierarchy = "queued_at"
    actions = ("endorse", "unendorse")

    @admin.display(description="course", ordering="thread__course__code")
    def course(self, row: Answer) -> Course:
        return row.thread.course

    def view_on_site(self, obj: Answer) -> str:
        return obj.thread.get_absolute_url()

    def describe(self, row: Answer) -> str:
        return f"The answer to {row.thread}"

    def why_refused(self, reader: User, row: Answer, done: str) -> str:
        if row.thread.course.status == CourseStatus.ACTIVE and row.status != AnswerStatus.PUBLISHED:
            return "it isn't published."
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


@admin.register(AnswerEndorsement)
class AnswerEndorsementAdmin(ReadOnlyAdmin[AnswerEndorsement]):
    course_paths = ("answer__thread__course",)
    fields = ("answer", "endorser", "role", "created_at")
    raw_id_fields = ("answer", "endorser")
    list_display = ("thread", "endorser", "role", "created_at")
    list_filter = ("role", ("answer__thread__course", ScopedRelatedFilter))
    list_select_related = ("answer__thread__course", "endorser")
    search_fields = ("answer__thread__title", "endorser__display_name")
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
    search_fields = ("quote", "answer__thread__title", "version__material__title")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Citation]:
        return super().get_queryset(request).defer("version__text", "passage__text", "passage__search")

    @admin.display(description="answer to")
    def thread(self, row: Citation) -> str:
        return str(row.answer.thread)

    @admin.display(description="source")
    def material(self, row: Citation) -> str:
        return f"{row.version.material}, {row.version}"


@admin.register(ModelCall)
class ModelCallAdmin(ReadOnlyAdmin[ModelCall]):
    """The ledger: kept as it was written."""

    course_paths = ("answer__thread__course",)
    fields = (
        "created_at", "answer", "engine", "model", "outcome", "passages", "input_tokens", "output_tokens",
        "cost_micros", "duration_ms",
    )  # fmt: skip
    raw_id_fields = ("answer",)
    list_display = (
        "created_at", "engine", "model", "outcome", "passages", "input_tokens", "output_tokens", "cost_micros",
        "duration_ms",
    )  # fmt: skip
    list_filter = ("outcome", "engine", "model")
    list_select_related = ("answer__thread__course",)
    search_fields = ("engine", "model", "answer__thread__title")
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: ModelCall | None = None) -> bool:
        return False
