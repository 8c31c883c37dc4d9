"""What the admin pages of the forum have in common."""

import re
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.contrib import admin, messages
from django.contrib.postgres.search import SearchQuery
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.access import Member, get_admin_member
from accounts.admin import (
    ReadOnlyAdmin,
    Row,
    reader_of,
)
from accounts.models import Course, CourseStatus, Role, User
from forum import actions
from forum.access import Refused
from forum.models import (
    Anonymity,
    Post,
    SearchEntry,
    Thread,
)
from forum.search.query import part_words
from quokkaq.lib.fulltext import LANGUAGE

# What an author reads when a text is hidden among others, from a list.
BULK_REASON = "It breaks the rules of the course. Ask staff if you don’t see why."


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


# So many of those that hold the words are looked at: the index on words knows no order.
SEARCHED = 1000
_NUMBER = re.compile(r"#?([0-9]{1,9})")


class WritingAdmin(ModeratedAdmin[WritingRow]):
    """What threads and posts have in common here. Order and search are read from indexes: there may be millions."""

    sortable_by = ("created_at",)
    # What is typed goes to `get_search_results`; this only says that there is a search.
    search_fields = ("pk",)
    search_help_text = f"Whole words, or a number: #123. Of many, {SEARCHED} are looked at: more words find less."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[WritingRow], search_term: str
    ) -> tuple[QuerySet[WritingRow], bool]:
        number = _NUMBER.fullmatch(search_term.strip())
        if number:
            return self.with_number(queryset, int(number[1]), self.courses_in_reach(request)), False
        if not search_term.strip():
            return queryset, False
        words = SearchQuery(part_words(search_term), config=LANGUAGE, search_type="websearch")
        return queryset.filter(pk__in=self.with_words(SearchEntry.objects.filter(vector=words))[:SEARCHED]), False

    def courses_in_reach(self, request: HttpRequest) -> QuerySet[Course]:
        courses: QuerySet[Course] = self.admin_site.get_model_admin(Course).get_queryset(request)
        return courses.order_by().values("pk")  # type: ignore[return-value]

    def with_number(self, rows: QuerySet[WritingRow], number: int, courses: QuerySet[Course]) -> QuerySet[WritingRow]:
        """Return the rows of threads with a number."""
        raise NotImplementedError

    def with_words(self, entries: QuerySet[SearchEntry]) -> QuerySet[Any, Any]:
        """Return the keys of the rows that search entries are about."""
        raise NotImplementedError

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

    @admin.action(description="Hide (the author reads that it broke the course’s rules)", permissions=["moderate"])
    def hide(self, request: HttpRequest, queryset: QuerySet[WritingRow]) -> None:
        self.apply(request, queryset, lambda by, row: actions.hide_text(by=by, text=row, reason=BULK_REASON), "hidden")

    @admin.action(description="Show again what is hidden", permissions=["moderate"])
    def unhide(self, request: HttpRequest, queryset: QuerySet[WritingRow]) -> None:
        self.apply(request, queryset, lambda by, row: actions.unhide_text(by=by, text=row), "shown again")

    @admin.action(description="Approve what waits", permissions=["moderate"])
    def approve(self, request: HttpRequest, queryset: QuerySet[WritingRow]) -> None:
        self.apply(request, queryset, lambda by, row: actions.approve_text(by=by, text=row), "approved")


class OfThreadOrPostAdmin(ReadOnlyAdmin[Row]):
    """Rows that belong to a thread or to a post."""

    course_paths = ("thread__course", "post__thread__course")
    raw_id_fields = ("thread", "post")
    list_select_related: ClassVar[tuple[str, ...]] = ("thread__course", "post__thread__course")
    sought_through = ("thread", "post__thread")
