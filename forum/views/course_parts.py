"""Assignments and tags of a course."""

import uuid

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, may_set_up, require_set_up, require_staff
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import AssignmentForm, TagForm
from forum.models import Assignment, Tag

LIVE = Q(threads__deleted_at=None, threads__merged_into=None)


@login_required
@require_safe
def assignments(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the assignments of the course by when they are due."""
    member = get_member(request.user, slug)
    require_staff(member)
    rows = Assignment.objects.visible_to(member).annotate(thread_count=Count("threads", filter=LIVE))
    context = {
        "member": member,
        "rows": rows.order_by("due_at", "title", "id"),
        "may_change": may_set_up(member, "assignments"),
        "now": timezone.now(),
        "section": "course",
        "part": "assignments",
    }
    return render(request, "forum/course/assignments.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_assignment(request: SignedInRequest, slug: str, assignment_id: uuid.UUID | None = None) -> HttpResponse:
    """Add or change an assignment."""
    member = get_member(request.user, slug)
    require_staff(member)
    assignment = access.get_assignment(member, assignment_id) if assignment_id else None
    require_set_up(member, "assignments")
    if request.method != "POST":
        return _assignment_page(request, member, assignment, AssignmentForm(instance=assignment))
    form = AssignmentForm(request.POST)
    if form.is_valid():
        try:
            actions.save_assignment(by=member, assignment=assignment, **form.values())
        except access.Refused as refusal:
            form.add_error("title", str(refusal))
        else:
            messages.success(request, "The assignment is saved.")
            return redirect("forum:assignments", slug=slug)
    return _assignment_page(request, member, assignment, form, status=422)


def _assignment_page(
    request: SignedInRequest, member: Member, assignment: Assignment | None, form: AssignmentForm, *, status: int = 200
) -> HttpResponse:
    context = {
        "member": member,
        "assignment": assignment,
        "form": form,
        "zone": timezone.get_current_timezone_name().replace("_", " "),
        "section": "course",
        "part": "assignments",
    }
    return render(request, "forum/course/assignment_form.html", context, status=status)


@login_required
@require_POST
def delete_assignment(request: SignedInRequest, slug: str, assignment_id: uuid.UUID) -> HttpResponse:
    """Take an assignment away; its threads stay."""
    member = get_member(request.user, slug)
    require_staff(member)
    actions.delete_assignment(by=member, assignment=access.get_assignment(member, assignment_id))
    messages.success(request, "The assignment is deleted. Its threads stay, without an assignment.")
    return redirect("forum:assignments", slug=slug)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tags(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the tags of the course; POST adds one."""
    member = get_member(request.user, slug)
    require_staff(member)
    if request.method != "POST":
        return _tags_page(request, member)
    require_set_up(member, "tags")
    form = TagForm(request.POST)
    if form.is_valid():
        try:
            tag = actions.add_tag(by=member, name=form.cleaned_data["name"])
        except access.Refused as refusal:
            form.add_error("name", str(refusal))
        else:
            messages.success(request, f"The tag “{tag}” is added.")
            return redirect("forum:tags", slug=slug)
    return _tags_page(request, member, form=form, status=422)


@login_required
@require_POST
def rename_tag(request: SignedInRequest, slug: str, tag_id: uuid.UUID) -> HttpResponse:
    """Give a tag another name, or make it one with the tag that has that name."""
    member = get_member(request.user, slug)
    require_staff(member)
    tag = access.get_tag(member, tag_id)
    require_set_up(member, "tags")
    form = TagForm(request.POST)
    if not form.is_valid():
        return _tags_page(request, member, renamed=tag, problem=str(form.errors["name"][0]), status=422)
    kept = actions.rename_tag(by=member, tag=tag, name=form.cleaned_data["name"])
    said = f"The tag is called “{kept}” now." if kept.pk == tag_id else f"Its threads are tagged “{kept}” now."
    messages.success(request, said)
    return redirect("forum:tags", slug=slug)


@login_required
@require_POST
def delete_tag(request: SignedInRequest, slug: str, tag_id: uuid.UUID) -> HttpResponse:
    """Take a tag off all threads."""
    member = get_member(request.user, slug)
    require_staff(member)
    actions.delete_tag(by=member, tag=access.get_tag(member, tag_id))
    messages.success(request, "The tag is deleted.")
    return redirect("forum:tags", slug=slug)


def _tags_page(
    request: SignedInRequest,
    member: Member,
    *,
    form: TagForm | None = None,
    renamed: Tag | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "member": member,
        "rows": access.counted_tags(member),
        "form": form or TagForm(),
        "renamed": renamed,
        "typed": request.POST.get("name", "") if renamed else "",
        "problem": problem,
        "may_change": may_set_up(member, "tags"),
        "section": "course",
        "part": "tags",
    }
    return render(request, "forum/course/tags.html", context, status=status)
