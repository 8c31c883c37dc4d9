"""What was done in a course, for its staff to search."""

from datetime import UTC, date, datetime, time, timedelta

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.access import Member, SignedInRequest, get_member, require_staff
from accounts.actions import note_audit_download
from accounts.decorators import login_required
from forum.audit_trail import Sought, kinds_in, lines
from forum.forms import AuditSearchForm
from quokkaq.lib.keyset import BadCursor, page
from quokkaq.lib.spreadsheet import csv_response

AUDIT_PAGE = 50
# A spreadsheet takes so many; whoever wants more asks for one span of time after the other.
MAX_CSV = 20_000
_BATCH = 500
_COLUMNS = ("Time (UTC)", "Who", "What", "Act", "Done to", "Key", "About", "From", "Browser", "Request")


@login_required
@require_safe
def audit_trail(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show who did what in the course, newest first, as far as it fits what is looked for."""
    member = get_member(request.user, slug)
    require_staff(member)
    form = _form(request, member)
    context = {"member": member, "form": form, "section": "course", "part": "audit", "query": _query(request)}
    if not form.is_valid():
        return render(request, "forum/course/audit.html", context | {"lines": [], "cursor": "", "next": ""}, status=422)
    sought = _sought(form)
    cursor, problem, scope = request.GET.get("cursor", ""), "", f"audit:{member.course.pk}:{_query(request)}"
    try:
        found = page(sought.events(member), order="created_at", cursor=cursor, size=AUDIT_PAGE, scope=scope)
    except BadCursor:
        cursor, problem = "", "This page address is damaged or out of date. Showing the first page."
        found = page(sought.events(member), order="created_at", cursor="", size=AUDIT_PAGE, scope=scope)
    context |= {
        "lines": lines(member, found.items), "cursor": cursor, "next": found.next_cursor, "problem": problem,
        "is_narrowed": sought != Sought(),
    }  # fmt: skip
    return render(request, "forum/course/audit.html", context, status=400 if problem else 200)


@login_required
@require_safe
def audit_csv(request: SignedInRequest, slug: str) -> HttpResponseBase:
    """Return what fits as a table, the newest `MAX_CSV` rows."""
    member = get_member(request.user, slug)
    require_staff(member)
    form = _form(request, member)
    if not form.is_valid():
        context = {"member": member, "form": form, "section": "course", "part": "audit", "query": _query(request)}
        return render(request, "forum/course/audit.html", context | {"lines": [], "cursor": "", "next": ""}, status=422)
    events = list(_sought(form).events(member)[:MAX_CSV])
    note_audit_download(by=member)
    rows = [
        (
            line.event.created_at.astimezone(UTC).isoformat(" ", "seconds"),
            line.who, line.what, line.event.verb, line.event.target_type, str(line.event.target_id), line.label,
            line.event.network, line.event.agent, line.request_id,
        )
        for start in range(0, len(events), _BATCH)
        for line in lines(member, events[start : start + _BATCH])
    ]  # fmt: skip
    return csv_response(f"{slug}-audit.csv", _COLUMNS, rows)


def _form(request: SignedInRequest, member: Member) -> AuditSearchForm:
    verbs, kinds = kinds_in(member)
    return AuditSearchForm(request.GET, verbs=verbs, kinds=kinds)


def _sought(form: AuditSearchForm) -> Sought:
    data = form.cleaned_data
    return Sought(
        who=data["who"], verb=data["verb"], kind=data["kind"], request_id=data["request"],
        since=_start_of(data["since"]), until=_start_of(data["until"], days=1),
    )  # fmt: skip


def _start_of(day: date | None, days: int = 0) -> datetime | None:
    """Return when a day (or one `days` later) begins for the reader."""
    if day is None:
        return None
    try:
        return timezone.make_aware(datetime.combine(day + timedelta(days=days), time.min))
    except OverflowError:
        return timezone.make_aware(datetime.combine(day, time.min))


def _query(request: SignedInRequest) -> str:
    """Return what is looked for, as it stands in the address."""
    query = request.GET.copy()
    query.pop("cursor", None)
    return query.urlencode()
