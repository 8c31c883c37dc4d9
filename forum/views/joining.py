"""How people come into a course: files, invitations, codes."""

import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts import actions
from accounts.access import (
    Member,
    Refused,
    SignedInRequest,
    get_invitation,
    get_member,
    get_roster_import,
    may_set_up,
    require_set_up,
    require_staff,
)
from accounts.decorators import login_required
from accounts.forms import JoinCodeLimitsForm, RosterUploadForm
from accounts.models import EnrollmentStatus, Invitation, JoinCode, Role, RosterImport, RosterState
from accounts.roster_diff import Change, Diff, Kind, Problem
from accounts.roster_files import FileRefused
from quokkaq.lib.keyset import BadCursor, page
from quokkaq.lib.qr import qr_code

PAGE_SIZE = 50
DIFF_PAGE = 100
_RECENT = 5
TITLES = {
    Kind.INVITE: "Invited",
    Kind.ADD: "Added",
    Kind.RETURN: "Returning",
    Kind.CHANGE: "Changed",
    Kind.DROP: "Dropped",
    Kind.NOTE: "Notes",
}
PROBLEMS = "problems"
_FIELDS = {"role": "Role", "section": "Section", "status": "Status", "sis_id": "SIS id"}
_WORDS: dict[str, dict[str, str]] = {
    "role": {str(value): str(label) for value, label in Role.choices},
    "status": {
        EnrollmentStatus.ACTIVE: "Active", EnrollmentStatus.COMPLETED: "Completed", EnrollmentStatus.DROPPED: "Dropped",
        "invited": "Invited",
    },
}  # fmt: skip


# Files


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def import_roster(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take a roster file; nothing changes before somebody has looked at what it would change."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_set_up(member, "people")
    form = RosterUploadForm(request.POST, request.FILES) if request.method == "POST" else RosterUploadForm()
    if request.method == "POST" and form.is_valid():
        try:
            row = actions.start_roster_import(
                by=member,
                files=form.contents(),
                course_id=form.cleaned_data["course_id"],
                drop_missing=form.cleaned_data["drop_missing"],
            )
        except FileRefused as refused:
            form.add_error("file", str(refused))
        else:
            return redirect("forum:roster-import", slug=slug, roster_id=row.pk)
    recent = RosterImport.objects.of_course(member).select_related("created_by").defer("content")[:_RECENT]
    context = {"form": form, "recent": recent} | _about(member, "import")
    return render(request, "forum/course/import_roster.html", context, status=422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def roster_import(request: SignedInRequest, slug: str, roster_id: uuid.UUID) -> HttpResponse:
    """Show what a file would change; POST applies exactly that, or throws it away."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_set_up(member, "people")
    row = get_roster_import(member, roster_id)
    if request.method != "POST":
        return _diff_page(request, member, row)
    if "discard" in request.POST:
        actions.discard_roster(by=member, roster=row)
        messages.success(request, "The file is thrown away. Nothing was changed.")
        return redirect("forum:import-roster", slug=slug)
    try:
        done = actions.apply_roster(
            by=member, roster=row, seen=request.POST.get("seen", ""), skip_problems="skip_problems" in request.POST
        )
    except Refused as refusal:
        return _diff_page(request, member, row, refusal=str(refusal), status=409)
    count = sum(done.values())
    messages.success(
        request,
        f"{count} {'person is' if count == 1 else 'people are'} changed." if count else "There was nothing to change.",
    )
    return redirect("forum:roster-import", slug=slug, roster_id=roster_id)


def _diff_page(
    request: SignedInRequest, member: Member, row: RosterImport, *, refusal: str = "", status: int = 200
) -> HttpResponse:
    is_ready = row.state == RosterState.READY
    found = actions.compare_roster(member, row) if is_ready else Diff()
    tabs = [(str(kind), title, len(found.of(kind))) for kind, title in TITLES.items() if found.of(kind)]
    if found.problems:
        tabs.append((PROBLEMS, "Problems", len(found.problems)))
    shown = request.GET.get("show", "")
    if shown not in {name for name, _, _ in tabs}:
        shown = tabs[0][0] if tabs else ""
    lines: list[Any] = list(found.problems) if shown == PROBLEMS else [c for c in found.changes if c.kind == shown]
    last = max(1, -(-len(lines) // DIFF_PAGE))
    asked = request.GET.get("page", "1")
    number = min(max(int(asked), 1), last) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 1
    lines = lines[(number - 1) * DIFF_PAGE : number * DIFF_PAGE]
    context = {
        "roster": row,
        "is_ready": is_ready,
        "diff": found,
        "acts": len(found.acts),
        "tabs": tabs,
        "shown": shown,
        "lines": [_in_words(line) for line in lines],
        "page_number": number,
        "before": number - 1 if number > 1 else 0,
        "after": number + 1 if number < last else 0,
        "last_page": last,
        "done": [(title, row.counts.get("done", {}).get(str(kind), 0)) for kind, title in TITLES.items()],
        "elsewhere": row.counts.get("elsewhere", 0),
        "refusal": refusal,
        "skip_problems": "skip_problems" in request.POST,
    } | _about(member, "import")
    return render(request, "forum/course/roster_import.html", context, status=status)


def _in_words(line: Change | Problem) -> dict[str, Any]:
    """Return a change or a problem as a row of the page."""
    if isinstance(line, Problem):
        return {"where": line.where, "email": line.email, "reason": line.reason}
    return {
        "where": line.where,
        "name": line.name if line.name != line.email else "",
        "email": line.email,
        "role": _WORDS["role"].get(line.role, line.role),
        "is_staff": line.role != Role.STUDENT,
        "section": line.section,
        "fields": [
            (
                _FIELDS[field.name],
                _WORDS.get(field.name, {}).get(field.old, field.old),
                _WORDS.get(field.name, {}).get(field.new, field.new),
            )
            for field in line.fields
        ],
        "note": line.note,
    }


# Invitations


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def invitations(request: SignedInRequest, slug: str) -> HttpResponse:
    """List who was invited and hasn't come yet; POST sends one again or takes it back."""
    member = get_member(request.user, slug)
    require_staff(member)
    refusal = ""
    if request.method == "POST":
        require_set_up(member, "people")
        row = get_invitation(member, _key(request.POST.get("invitation", "")))
        try:
            if "revoke" in request.POST:
                actions.revoke_invitation(by=member, invitation=row)
                messages.success(request, f"The invitation of {row.email} is taken back.")
            else:
                actions.resend_invitation(by=member, invitation=row)
                messages.success(request, f"{row.email} gets a new link. The old one doesn’t work any more.")
        except Refused as refused:
            refusal = str(refused)
        else:
            return redirect("forum:invitations", slug=slug)
    pending = Invitation.objects.of_course(member).pending().select_related("invited_by")
    scope = f"invitations:{member.course.pk}"
    cursor, problem = request.GET.get("cursor", ""), ""
    try:
        listed = page(pending, order="created_at", cursor=cursor, size=PAGE_SIZE, scope=scope)
    except BadCursor:
        cursor, problem = "", "This page address is damaged or out of date. Showing the first page."
        listed = page(pending, order="created_at", cursor="", size=PAGE_SIZE, scope=scope)
    may_change = may_set_up(member, "people")
    context = {
        # In a demo no mail leaves the house.
        "rows": [
            (row, actions.link_of(row) if settings.DEMO and may_change and row.is_open else "") for row in listed.items
        ],
        "next": listed.next_cursor,
        "cursor": cursor,
        "problem": problem,
        "refusal": refusal,
        "may_change": may_change,
    } | _about(member, "invitations")
    status = 409 if refusal else 400 if problem else 200
    return render(request, "forum/course/invitations.html", context, status=status)


def _key(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Http404 from None


# Join codes


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def join_code(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the code of the course, large; POST makes a new one, limits it or switches it off."""
    member = get_member(request.user, slug)
    require_staff(member)
    code = JoinCode.objects.of_course(member).live().first()
    form, refusal = JoinCodeLimitsForm(code=code), ""
    if request.method == "POST":
        require_set_up(member, "people")
        try:
            if "new" in request.POST:
                actions.make_join_code(by=member)
                messages.success(
                    request,
                    "The new code works now." if code is None else "The new code works now, the old one no longer.",
                )
                return redirect("forum:join-code", slug=slug)
            if "off" in request.POST:
                actions.switch_off_join_code(by=member)
                messages.success(request, "The code is switched off.")
                return redirect("forum:join-code", slug=slug)
            form = JoinCodeLimitsForm(request.POST, code=code)
            if form.is_valid():
                actions.limit_join_code(by=member, **form.cleaned_data)
                messages.success(request, "Saved.")
                return redirect("forum:join-code", slug=slug)
        except Refused as refused:
            refusal = str(refused)
    link = f"{settings.BASE_URL}{reverse('accounts:join-course', args=[code.code])}" if code else ""
    context = {
        "code": code,
        "link": link,
        "short_link": f"{settings.BASE_URL}{reverse('accounts:join')}".partition("://")[2],
        "qr": qr_code(link) if code and not code.problem else "",
        "form": form,
        "refusal": refusal,
        "may_change": may_set_up(member, "people"),
    } | _about(member, "join code")
    return render(
        request, "forum/course/join_code.html", context, status=409 if refusal else 422 if form.errors else 200
    )


def _about(member: Member, here: str) -> dict[str, Any]:
    return {
        "member": member,
        "here": here,
        "may_add": may_set_up(member, "people"),
        "section": "course",
        "part": "roster",
    }
