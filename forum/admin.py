"""Django admin for the forum. It shows nothing the pages hide, and moderates through the same actions."""

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import Member, get_admin_member
from accounts.admin import (
    CourseScopedAdmin,
    OperatedAdmin,
    ReadOnlyAdmin,
    Row,
    ScopedRelatedFilter,
    WholeRowForm,
    reader_of,
)
from accounts.models import Course, CourseStatus, Role, User
from forum import actions
from forum.access import Refused
from forum.models import (
    Anonymity,
    Endorsement,
    Kind,
    Mention,
    Post,
    Pseudonym,
    Revision,
    SameQuestion,
    StaffNote,
    Tag,
    Thread,
    ThreadRead,
    ThreadTag,
    Vote,
)


class ModeratedAdmin(ReadOnlyAdmin[Row]):
    """Rows that change through the app's actions only: the rules and the audit rows are those of the pages."""

    def has_moderate_permission(self, request: HttpRequest) -> bool:
        """Tell whether the bulk actions are offered; whether one may be done is asked row by row."""
        return reader_of(request).has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Leave out deleting for good: "delete" here means what it means on the pages."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def apply(self, request: HttpRequest, rows: QuerySet[Row], act: Callable[[Member, Row], None], done: str) -> None:
        """Do `act` to every row or, when one is refused, to none; say which it was and why.

        One look-up of the reader's role per course. The rows go by key, so two people's actions lock them in the
        same order.
        """
        reader = reader_of(request)
        members: dict[uuid.UUID, Member] = {}
        chosen = list(rows.select_related(*self.list_select_related).order_by("pk"))
        try:
            with transaction.atomic():
                for row in chosen:
                    try:
                        by = self._member_for(reader, row, members)
                        if len(chosen) > 1 and self.would_unmask(by, row):
                            raise Refused(
                                "it is your own, under a pseudonym. Do this on its page: "
                                "among others, the audit log would show whose it is."
                            )
                        act(by, row)
                    except (PermissionDenied, Refused) as error:
                        reason = str(error) or self.why_refused(reader, row, done)
                        raise Refused(f"Nothing was changed. {self.describe(row)} can't be {done}: {reason}") from error
        except Refused as refusal:
            self.message_user(request, str(refusal), messages.ERROR)
            return
        noun = self.opts.verbose_name if len(chosen) == 1 else self.opts.verbose_name_plural
        self.message_user(request, f"{len(chosen)} {noun} {done}.", messages.SUCCESS)

    def _member_for(self, reader: User, row: Row, members: dict[uuid.UUID, Member]) -> Member:
        course = self.course_of(row)
        if course is None:
            raise PermissionDenied
        if course.pk not in members:
            members[course.pk] = get_admin_member(reader, course)
        return members[course.pk]

    def would_unmask(self, by: Member, row: Row) -> bool:
        """Tell whether doing this together with other rows would show who wrote `row`.

        The audit log leaves out who acted on their own hidden text; next to rows of the same request that say who
        it was, the gap is as good as a name.
        """
        return False

    def describe(self, row: Row) -> str:
        return str(row)

    def why_refused(self, reader: User, row: Row, done: str) -> str:
        """Say in plain words why the action that makes a row `done` raised `PermissionDenied`."""
        course = self.course_of(row)
        if course is not None and course.status == CourseStatus.ARCHIVED:
            return "its course is archived, so it can only be read."
        return "you may not do this to it in the state it is in."


WritingRow = TypeVar("WritingRow", Thread, Post)


class WritingAdmin(ModeratedAdmin[WritingRow]):
    """What threads and posts have in common here."""

    def view_on_site(self, obj: WritingRow) -> str:
        thread = obj.thread if isinstance(obj, Post) else obj
        return thread.get_absolute_url()

    @admin.display(description="page")
    def page(self, row: WritingRow) -> SafeString:
        return format_html('<a href="{}">View on site</a>', self.view_on_site(row))

    @admin.display(description="author")
    def shown_author(self, row: WritingRow) -> str:
        """Return the author as the pages show them to staff of the course."""
        course = row.thread.course if isinstance(row, Post) else row.course
        # A member of staff who is nobody in particular, and so never the author.
        byline = row.byline(Member(User(), course, Role.INSTRUCTOR))
        if byline.pseudonym and not byline.hidden:
            return f"{byline.name} ({byline.pseudonym} to classmates)"
        return byline.name

    @admin.display(description="deleted", boolean=True)
    def is_deleted(self, row: WritingRow) -> bool:
        return row.deleted_at is not None

    def would_unmask(self, by: Member, row: WritingRow) -> bool:
        return row.is_by(by) and row.anonymity != Anonymity.NAMED


@admin.register(Thread)
class ThreadAdmin(WritingAdmin[Thread]):
    fields = (
        "course", "number", "title", "shown_author", "anonymity", "kind", "status", "visibility", "is_pinned",
        "is_locked", "body", "accepted_post", "reply_count", "vote_count", "endorsement_count", "reader_count",
        "created_at", "edited_at", "last_activity_at", "deleted_at",
    )  # fmt: skip
    readonly_fields = ("shown_author",)
    list_display = (
        "number", "title", "course", "shown_author", "kind", "status", "is_pinned", "is_locked", "is_deleted",
        "created_at", "page",
    )  # fmt: skip
    list_display_links = ("number", "title")
    list_filter = (
        ("course", ScopedRelatedFilter), "status", "kind", "visibility", "is_pinned", "is_locked",
        ("deleted_at", admin.EmptyFieldListFilter),
    )  # fmt: skip
    list_select_related = ("course", "author", "pseudonym")
    search_fields = ("title", "body", "=number")
    date_hierarchy = "created_at"
    actions = ("pin", "unpin", "lock", "unlock", "resolve", "reopen", "delete", "restore")

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
        "thread", "parent", "shown_author", "anonymity", "body", "vote_count", "endorsement_count", "created_at",
        "edited_at", "deleted_at",
    )  # fmt: skip
    readonly_fields = ("shown_author",)
    list_display = (
        "__str__", "thread", "course", "shown_author", "endorsement_count", "is_deleted", "created_at", "page",
    )  # fmt: skip
    list_filter = (("thread__course", ScopedRelatedFilter), ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("thread__course", "author", "pseudonym")
    search_fields = ("body", "thread__title")
    date_hierarchy = "created_at"
    actions = ("endorse", "unendorse", "delete", "restore")

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
    search_fields = ("thread__title", "tag__name")


class OfThreadOrPostAdmin(ReadOnlyAdmin[Row]):
    """Rows that belong to a thread or to a post."""

    course_paths = ("thread__course", "post__thread__course")
    raw_id_fields = ("thread", "post")
    list_select_related: ClassVar[tuple[str, ...]] = ("thread__course", "post__thread__course")
    search_fields = ("thread__title", "post__thread__title")


@admin.register(Revision)
class RevisionAdmin(OfThreadOrPostAdmin[Revision]):
    fields = ("thread", "post", "editor", "title", "body", "created_at")
    list_display = ("created_at", "thread", "post", "editor", "title")
    list_filter = (("thread__course", ScopedRelatedFilter), ("created_at", admin.DateFieldListFilter))
    list_select_related = (*OfThreadOrPostAdmin.list_select_related, "editor")
    search_fields = ("title", "body")
    date_hierarchy = "created_at"


@admin.register(Vote)
class VoteAdmin(OfThreadOrPostAdmin[Vote]):
    """How many and when. Who voted is nobody's business."""

    fields = ("thread", "post", "created_at")
    list_display = ("__str__", "thread", "post", "created_at")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    date_hierarchy = "created_at"


@admin.register(Endorsement)
class EndorsementAdmin(ReadOnlyAdmin[Endorsement]):
    course_paths = ("post__thread__course",)
    fields = ("post", "endorser", "role", "created_at")
    raw_id_fields = ("post", "endorser")
    list_display = ("post", "thread", "endorser", "role", "created_at")
    list_filter = ("role", ("post__thread__course", ScopedRelatedFilter))
    list_select_related = ("post__thread__course", "endorser")
    search_fields = ("post__thread__title", "endorser__display_name")
    date_hierarchy = "created_at"

    @admin.display(description="thread")
    def thread(self, row: Endorsement) -> Thread:
        return row.post.thread


@admin.register(ThreadRead)
class ThreadReadAdmin(ReadOnlyAdmin[ThreadRead]):
    """Without names: the first to have read a thread is its author."""

    course_paths = ("thread__course",)
    fields = ("thread", "read_at", "is_counted")
    raw_id_fields = ("thread",)
    list_display = ("__str__", "thread", "read_at", "is_counted")
    list_filter = ("is_counted", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course",)
    search_fields = ("thread__title",)
    date_hierarchy = "read_at"


@admin.register(Pseudonym)
class PseudonymAdmin(ReadOnlyAdmin[Pseudonym]):
    """Without whose they are: that is what they hide."""

    course_paths = ("thread__course",)
    fields = ("thread", "name")
    raw_id_fields = ("thread",)
    list_display = ("name", "thread")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course",)
    search_fields = ("name", "thread__title")


@admin.register(SameQuestion)
class SameQuestionAdmin(ReadOnlyAdmin[SameQuestion]):
    """How many and when. Who doesn't understand something is nobody's business."""

    course_paths = ("thread__course",)
    fields = ("thread", "created_at")
    raw_id_fields = ("thread",)
    list_display = ("__str__", "thread", "created_at")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course",)
    date_hierarchy = "created_at"


@admin.register(Mention)
class MentionAdmin(ReadOnlyAdmin[Mention]):
    """Without who is meant: behind a pseudonym stands somebody."""

    course_paths = ("thread__course",)
    fields = ("thread", "post", "created_at")
    raw_id_fields = ("thread", "post")
    list_display = ("__str__", "thread", "post", "created_at")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course", "post")
    date_hierarchy = "created_at"


@admin.register(StaffNote)
class StaffNoteAdmin(ReadOnlyAdmin[StaffNote]):
    course_paths = ("thread__course",)
    fields = ("thread", "author", "body", "created_at", "deleted_at")
    raw_id_fields = ("thread", "author")
    list_display = ("__str__", "thread", "author", "created_at", "deleted_at")
    list_filter = (("thread__course", ScopedRelatedFilter), ("deleted_at", admin.EmptyFieldListFilter))
    list_select_related = ("thread__course", "author")
    search_fields = ("body", "thread__title")
    date_hierarchy = "created_at"
