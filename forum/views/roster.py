"""The people of a course and their sections."""

import uuid
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Count, Q
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from accounts import actions
from accounts.access import (
    Member,
    Refused,
    SignedInRequest,
    get_enrollment,
    get_member,
    may_ban,
    may_set_up,
    require_set_up,
    require_staff,
)
from accounts.decorators import login_required
from accounts.forms import AddPeopleForm, EnrollmentForm, ManyEnrollmentsForm, SectionForm
from accounts.models import Enrollment, EnrollmentStatus, Role
from accounts.querysets import EnrollmentQuerySet
from quokkaq.lib.keyset import BadCursor, Page, page
from quokkaq.lib.spreadsheet import csv_response

PAGE_SIZE = 50


class Choice:
    """Whom the roster shows, as the address says it."""

    def __init__(self, request: SignedInRequest, member: Member) -> None:
        self.member = member
        asked = {name: request.GET.get(name, "").replace("\x00", "").strip()[:100] for name in _FILTERS}
        self.q, self.role, self.status, self.in_section, self.banned = (asked[name] for name in _FILTERS)
        self.cursor = request.GET.get("cursor", "")
        self.problem = ""
        if self.role not in ("", *Role.values) or self.status not in ("", *EnrollmentStatus.values):
            self.role = self.status = ""
            self.problem = "There is no such filter. Showing everybody."

    def values(self) -> dict[str, str]:
        return dict(zip(_FILTERS, (self.q, self.role, self.status, self.in_section, self.banned), strict=True))

    def query(self, **changes: str) -> str:
        """Return the query string with some of it changed; a change starts at the first page."""
        kept = {name: value for name, value in (self.values() | changes).items() if value}
        return f"?{urlencode(kept)}" if kept else "?"

    def people(self) -> EnrollmentQuerySet:
        rows = Enrollment.objects.of_course(self.member).select_related("user")
        if self.q:
            rows = rows.filter(Q(user__display_name__icontains=self.q) | Q(user__email__icontains=self.q))
        if self.role:
            rows = rows.filter(role=self.role)
        if self.status:
            rows = rows.filter(status=self.status)
        if self.in_section:
            rows = rows.filter(section="" if self.in_section == "-" else self.in_section)
        if self.banned:
            now = timezone.now()
            rows = rows.filter(Q(banned_until=None) | Q(banned_until__gt=now), is_banned=True)
        return rows.annotate(sort_name=Lower("user__display_name"))

    def page(self) -> Page[Enrollment]:
        """Return the page the cursor points at; a bad one is said in `problem` and gives the first."""
        scope = f"roster:{self.member.course.pk}:{urlencode(self.values())}"
        arguments = {"order": "sort_name", "size": PAGE_SIZE, "scope": scope, "ascending": True}
        try:
            return page(self.people(), cursor=self.cursor, **arguments)  # type: ignore[arg-type]
        except BadCursor:
            self.cursor, self.problem = "", "This page address is damaged or out of date. Showing the first page."
            return page(self.people(), cursor="", **arguments)  # type: ignore[arg-type]


_FILTERS = ("q", "role", "status", "in", "banned")


def sections_of(member: Member) -> list[tuple[str, int]]:
    """Return the sections of the course and how many people who may read are in each, by name; `""` is in none."""
    rows = Enrollment.objects.of_course(member).order_by("section").values("section")
    counted = rows.annotate(n=Count("pk", filter=~Q(status=EnrollmentStatus.DROPPED)))
    return [(row["section"], row["n"]) for row in counted]


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def roster(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the people of the course; POST changes several of them, or none."""
    member = get_member(request.user, slug)
    require_staff(member)
    choice = Choice(request, member)
    whole = may_set_up(member, "people")
    if request.method != "POST":
        return _roster_page(request, choice, ManyEnrollmentsForm(whole=whole))
    require_set_up(member, "sections")
    form = ManyEnrollmentsForm(request.POST, whole=whole)
    if not form.is_valid():
        return _roster_page(request, choice, form, status=422)
    people = [uuid.UUID(key) for key in form.cleaned_data["people"]]
    try:
        count = actions.change_enrollments(by=member, enrollments=people, **form.changes())
    except Refused as refusal:
        return _roster_page(request, choice, form, refusal=str(refusal), status=409)
    messages.success(request, f"{count} {'person is' if count == 1 else 'people are'} changed.")
    return redirect(f"{reverse('forum:roster', args=[slug])}{choice.query()}")


def _roster_page(
    request: SignedInRequest, choice: Choice, form: ManyEnrollmentsForm, *, refusal: str = "", status: int = 0
) -> HttpResponse:
    member = choice.member
    found = choice.page()
    ticked = set(form["people"].value() or [])
    rows = list(found.items)
    absent = {uuid.UUID(key) for key in ticked if _is_key(key)} - {row.pk for row in rows}
    if absent:
        rows = [*Enrollment.objects.of_course(member).select_related("user").filter(pk__in=absent)[:500], *rows]
    context = {
        "member": member,
        "choice": choice,
        "form": form,
        "refusal": refusal,
        "rows": [(row, str(row.pk) in ticked) for row in rows],
        "sections": [(name, choice.in_section == (name or "-")) for name, _ in sections_of(member)],
        "roles": [(value, label, choice.role == value) for value, label in Role.choices],
        "statuses": [(value, label, choice.status == value) for value, label in EnrollmentStatus.choices],
        "is_filtered": any(choice.values().values()),
        "next": choice.query(cursor=found.next_cursor) if found.next_cursor else "",
        "may_change": may_set_up(member, "sections"),
        "may_add": may_set_up(member, "people"),
        "here": "people",
        "section": "course",
        "part": "roster",
    }
    return render(request, "forum/course/roster.html", context, status=status or (400 if choice.problem else 200))


def _is_key(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def enrollment(request: SignedInRequest, slug: str, enrollment_id: uuid.UUID) -> HttpResponse:
    """Show what one person is in the course, and change it."""
    member = get_member(request.user, slug)
    require_staff(member)
    row = get_enrollment(member, enrollment_id)
    whole = may_set_up(member, "people") and row.user_id != member.user.pk
    initial = {"role": row.role, "status": row.status, "section": row.section}
    if request.method != "POST":
        return _enrollment_page(request, member, row, EnrollmentForm(initial=initial, whole=whole))
    require_set_up(member, "sections")
    form = EnrollmentForm(request.POST, initial=initial, whole=whole)
    if not form.is_valid():
        return _enrollment_page(request, member, row, form, status=422)
    try:
        actions.change_enrollments(by=member, enrollments=[row.pk], **form.changes())
    except Refused as refusal:
        form.add_error(None, str(refusal))
        return _enrollment_page(request, member, row, form, status=409)
    messages.success(request, f"{row.user} is changed.")
    return redirect("forum:roster", slug=slug)


def _enrollment_page(
    request: SignedInRequest, member: Member, row: Enrollment, form: EnrollmentForm, *, status: int = 200
) -> HttpResponse:
    context = {
        "member": member,
        "row": row,
        "form": form,
        "may_change": may_set_up(member, "sections"),
        "is_me": row.user_id == member.user.pk,
        "may_ban": may_ban(member, row) and row.user_id != member.user.pk,
        "sections": [name for name, _ in sections_of(member) if name],
        "section": "course",
        "part": "roster",
    }
    return render(request, "forum/course/enrollment.html", context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def add_people(request: SignedInRequest, slug: str) -> HttpResponse:
    """Enroll people by address; those without an account are invited."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_set_up(member, "people")
    form = AddPeopleForm(request.POST if request.method == "POST" else None)
    done = None
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            done = actions.enroll_people(
                by=member, emails=data["emails"], role=Role(data["role"]), section=data["section"]
            )
        except Refused as refusal:
            form.add_error("emails", str(refusal))
        else:
            left = {"role": data["role"], "section": data["section"]}
            form = AddPeopleForm(initial=left)
    context = {
        "member": member,
        "form": form,
        "done": done,
        "sections": [name for name, _ in sections_of(member) if name],
        "section": "course",
        "part": "roster",
    }
    return render(request, "forum/course/add_people.html", context, status=422 if form.errors else 200)


@login_required
@require_safe
def roster_csv(request: SignedInRequest, slug: str) -> HttpResponse:
    """Return the people of the course as a table, those the filters leave."""
    member = get_member(request.user, slug)
    require_staff(member)
    actions.note_roster_download(by=member)
    people = Choice(request, member).people().order_by(Lower("user__display_name"), "id")
    rows = [(row.user.display_name, row.user.email, row.get_role_display(), row.section, row.status) for row in people]
    return csv_response(f"{slug}-roster.csv", ("Name", "E-mail", "Role", "Section", "Status"), rows)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def sections(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the sections of the course; POST renames one, or makes it part of another."""
    member = get_member(request.user, slug)
    require_staff(member)
    form = SectionForm(request.POST if request.method == "POST" else None)
    problem = ""
    if request.method == "POST":
        require_set_up(member, "sections")
        if form.is_valid():
            new = form.cleaned_data["new"]
            try:
                count = actions.rename_section(by=member, old=form.cleaned_data["old"], new=new)
            except Refused as refusal:
                problem = str(refusal)
            else:
                messages.success(request, f"“{new}” has {count} {'person' if count == 1 else 'people'} now.")
                return redirect("forum:sections", slug=slug)
        else:
            problem = str(form.errors["new"][0])
    counted = sections_of(member)
    context = {
        "member": member,
        "rows": [(name, count) for name, count in counted if name],
        "nowhere": sum(count for name, count in counted if not name),
        "form": form,
        "renamed": str(form["old"].value() or "") if problem else "",
        "typed": str(form["new"].value() or "") if problem else "",
        "problem": problem,
        "may_change": may_set_up(member, "sections"),
        "section": "course",
        "part": "sections",
    }
    return render(request, "forum/course/sections.html", context, status=422 if problem else 200)
