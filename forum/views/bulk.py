"""One thing done to many threads."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import Member, SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import BulkForm
from forum.models import Assignment, Status, Tag, Thread
from forum.querysets import ThreadQuerySet
from quokkaq.lib.keyset import BadCursor, Page, page

PAGE_SIZE = 50
SHOW = {
    "all": "All",
    "open": "Open",
    "answered": "Answered",
    "resolved": "Resolved",
    "unassigned": "Unassigned",
    "pinned": "Pinned",
    "locked": "Locked",
    "deleted": "Deleted",
}


class Choice:
    """Which threads are offered, as the address says it."""

    def __init__(self, request: SignedInRequest, member: Member) -> None:
        self.member = member
        self.show = request.GET.get("show", "all")
        self.tag = request.GET.get("tag", "")
        self.assignment = request.GET.get("assignment", "")
        self.cursor = request.GET.get("cursor", "")
        self.problem = ""
        if self.show not in SHOW:
            self.show, self.problem = "all", "There is no such filter. Showing all threads."
        self.tags = list(Tag.objects.visible_to(member))
        self.assignments = list(Assignment.objects.visible_to(member))
        if self.tag and self.tag not in {tag.slug for tag in self.tags}:
            self.tag, self.problem = "", "This course has no such tag. Showing every tag."
        if self.assignment and self.assignment not in {row.slug for row in self.assignments}:
            self.assignment, self.problem = "", "This course has no such assignment. Showing all of them."

    def query(self, **changes: str) -> str:
        """Return the query string with some of it changed; a change starts at the first page."""
        values = {"show": self.show, "tag": self.tag, "assignment": self.assignment} | changes
        kept = {name: value for name, value in values.items() if value and value != "all"}
        return f"?{urlencode(kept)}" if kept else "?"

    def threads(self) -> ThreadQuerySet:
        if self.show == "deleted":
            threads = Thread.objects.in_reach_of(self.member).filter(deleted_at__isnull=False, merged_into=None)
        else:
            threads = Thread.objects.visible_to(self.member)
        match self.show:
            case "open" | "answered" | "resolved":
                threads = threads.filter(status=Status(self.show))
            case "unassigned":
                threads = threads.filter(assignee=None)
            case "pinned":
                threads = threads.filter(is_pinned=True)
            case "locked":
                threads = threads.filter(is_locked=True)
        if self.tag:
            threads = threads.filter(tags__slug=self.tag)
        if self.assignment:
            threads = threads.filter(assignment__slug=self.assignment)
        return threads

    def page(self) -> Page[Thread]:
        """Return the page the cursor points at; a bad one is said in `problem` and gives the first."""
        rows = self.threads().listed().select_related("assignee")
        scope = f"bulk:{self.member.course.pk}:{self.show}:{self.tag}:{self.assignment}"
        try:
            return page(rows, order="created_at", cursor=self.cursor, size=PAGE_SIZE, scope=scope)
        except BadCursor:
            self.cursor, self.problem = "", "This page address is damaged or out of date. Showing the first page."
            return page(rows, order="created_at", cursor="", size=PAGE_SIZE, scope=scope)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def bulk(request: SignedInRequest, slug: str) -> HttpResponse:
    """Tick threads and choose what to do; a refusal keeps the ticks and says which thread and why."""
    member = get_member(request.user, slug)
    require_staff(member)
    choice = Choice(request, member)
    if request.method != "POST":
        return _bulk_page(request, choice, BulkForm(member=member), status=None)
    access.require(access.may_moderate(member))
    form = BulkForm(request.POST, member=member)
    if not form.is_valid():
        return _bulk_page(request, choice, form, status=422)
    try:
        done = actions.do_to_threads(by=member, numbers=form.cleaned_data["threads"], act=form.chosen_act())
    except access.Refused as refusal:
        return _bulk_page(request, choice, form, refusal=str(refusal), status=409)
    messages.success(request, done)
    return redirect(f"{reverse('forum:bulk', args=[slug])}{choice.query()}")


def _bulk_page(
    request: SignedInRequest, choice: Choice, form: BulkForm, *, status: int | None, refusal: str = ""
) -> HttpResponse:
    member = choice.member
    found = choice.page()
    ticked = {int(value) for value in form["threads"].value() or [] if str(value).isdecimal() and len(str(value)) < 10}
    rows = list(found.items)
    # What was ticked stays in sight, also when it stands on another page now.
    absent = ticked - {thread.number for thread in rows}
    if absent:
        reach = Thread.objects.in_reach_of(member).filter(merged_into=None)
        rows = [*reach.filter(number__in=absent).listed().select_related("assignee")[: actions.MAX_BULK], *rows]
    context = {
        "member": member,
        "choice": choice,
        "form": form,
        "refusal": refusal,
        "rows": [(thread, thread.byline(member), thread.number in ticked) for thread in rows],
        "may_change": access.may_moderate(member),
        "limit": actions.MAX_BULK,
        "shows": [(key, label, choice.show == key) for key, label in SHOW.items()],
        "tags": [(tag, tag.slug == choice.tag) for tag in choice.tags],
        "assignments": [(row, row.slug == choice.assignment) for row in choice.assignments],
        "next": choice.query(cursor=found.next_cursor) if found.next_cursor else "",
        "section": "threads",
    }
    return render(request, "forum/bulk.html", context, status=status or (400 if choice.problem else 200))
