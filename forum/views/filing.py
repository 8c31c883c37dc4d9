"""Where a thread belongs: duplicates, merges, moves, and who may read it."""

import logging
import uuid
from typing import Any

from django.contrib import messages
from django.db import Error, transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import Member, SignedInRequest, get_member, require_staff, run_elsewhere
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import MoveForm, NumberForm, RefileForm
from forum.models import Kind, Thread, Visibility
from forum.search import similar_threads

log = logging.getLogger(__name__)


def _alike(member: Member, thread: Thread) -> list[Thread]:
    """Return threads that may ask the same; none when search is out of order, as it is only a help."""
    try:
        with transaction.atomic():
            found = similar_threads(member, title=thread.title, body=thread.body, limit=6)
    except Error:
        log.exception("similar threads could not be found")
        return []
    return [similar.thread for similar in found if similar.thread.pk != thread.pk][:5]


def _other(member: Member, thread: Thread, form: NumberForm) -> Thread | None:
    """Return the thread whose number was typed; say at the field when there is none to be read."""
    if not form.is_valid():
        return None
    try:
        number = form.cleaned_data["number"]
        return access.get_thread_of_posts(member, number)
    except Http404:
        form.add_error("number", f"There is no thread #{number} in this course that you may read.")
        return None


def _render(
    request: SignedInRequest, page: str, member: Member, thread: Thread, *, status: int = 200, **more: Any
) -> HttpResponse:
    context = {"member": member, "thread": thread, "section": "threads"} | more
    return render(request, f"forum/{page}.html", context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def duplicate(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Say that a thread asks what another one asked before, or (`on=0`) take that back."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    access.require(access.may_mark_duplicate(member, thread))
    if request.POST.get("on") == "0":
        actions.set_duplicate(by=member, thread=thread, of=None)
        messages.success(request, "No longer marked as the same question.")
        return redirect(thread)
    form = NumberForm(request.POST or None)
    other = _other(member, thread, form) if request.method == "POST" else None
    if other is not None:
        try:
            actions.set_duplicate(by=member, thread=thread, of=other)
            messages.success(request, f"Marked as the same question as #{other.number}.")
            return redirect(thread)
        except access.Refused as refusal:
            form.add_error("number", str(refusal))
    status = 422 if form.errors else 200
    return _render(request, "duplicate", member, thread, form=form, alike=_alike(member, thread), status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def merge(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Choose what to merge a thread into (`?into=12`), look at both, and merge them."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    access.require(access.may_moderate(member))
    typed = {"number": request.GET["into"]} if "into" in request.GET else None
    form = NumberForm(request.POST if request.method == "POST" else typed)
    other = _other(member, thread, form) if form.is_bound else None
    if other is not None and (reason := actions.why_no_merge(thread, other)):
        form.add_error("number", reason)
        other = None
    status = 422 if form.errors else 200
    if request.method == "POST" and other is not None:
        try:
            actions.merge_threads(by=member, source=thread, target=other)
            messages.success(
                request, f"Merged #{thread.number} into this thread. “Undo the merge” below takes them apart."
            )
            return redirect(other)
        except access.Refused as refusal:
            form.add_error("number", str(refusal))
            other, status = None, 409
    alike = [] if other else _alike(member, thread)
    return _render(request, "merge", member, thread, form=form, other=other, alike=alike, status=status)


@login_required
@require_POST
def undo_merge(request: SignedInRequest, slug: str, merge_id: uuid.UUID) -> HttpResponse:
    """Take two merged threads apart."""
    member = get_member(request.user, slug)
    require_staff(member)
    found = access.get_merge(member, merge_id)
    try:
        actions.undo_merge(by=member, merge=found)
        messages.success(request, f"Undone: #{found.source.number} stands on its own again.")
    except access.Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("forum:thread", slug=slug, number=found.source.number)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def move(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Move a thread to another course its mover runs."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    access.require(access.may_moderate(member))
    others = {str(other.course.pk): other for other in run_elsewhere(member)}
    form = MoveForm(
        request.POST if "course" in request.POST else None,
        courses=[(key, f"{other.course} · {other.course.term}") for key, other in others.items()],
    )
    status = 422 if form.errors else 200
    if request.method == "POST" and form.is_valid():
        try:
            moved = actions.move_thread(by=member, thread=thread, to=others[form.cleaned_data["course"]])
            messages.success(request, f"Moved. It is #{moved.number} of {moved.course.code} now.")
            return redirect(moved)
        except access.Refused as refusal:
            form.add_error("course", str(refusal))
            status = 409
    return _filing_page(request, member, thread, move_form=form, others=bool(others), status=status)


def _filing_page(
    request: SignedInRequest, member: Member, thread: Thread, *, status: int = 200, **more: Any
) -> HttpResponse:
    initial = {"kind": thread.kind, "visibility": thread.visibility}
    context = {"refile_form": RefileForm(initial=initial), "why_not": actions.why_no_move(thread)} | more
    return _render(request, "move", member, thread, status=status, **context)


@login_required
@require_POST
def refile(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Change the kind of a thread, or who may read it."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    form = RefileForm(request.POST)
    status = 422
    if form.is_valid():
        data = form.cleaned_data
        try:
            actions.refile_thread(
                by=member, thread=thread, kind=Kind(data["kind"]), visibility=Visibility(data["visibility"])
            )
            messages.success(request, "Filed.")
            return redirect(thread)
        except access.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    others = run_elsewhere(member)
    courses = [(str(other.course.pk), f"{other.course} · {other.course.term}") for other in others]
    return _filing_page(
        request, member, thread, move_form=MoveForm(courses=courses), others=bool(others), refile_form=form,
        status=status,
    )  # fmt: skip


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def open_up(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Let the course read what one asked staff in private; the page says what that means first."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    access.require(access.may_open(member, thread))
    if request.method == "POST":
        actions.open_thread(by=member, thread=thread)
        messages.success(request, f"Everyone in {member.course.code} can read it now.")
        return redirect(thread)
    return _render(request, "open_up", member, thread)
