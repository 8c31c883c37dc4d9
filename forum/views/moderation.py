"""Flags, approvals, hiding and bans: keeping order in a course."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, may_ban, require_staff
from accounts.actions import lift_ban, set_ban
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import BanForm, DecisionForm, FlagForm, HideForm
from forum.models import Flag, FlagReason, FlagStatus, Post, Thread
from quokkaq.lib.keyset import BadCursor, page

PAGE_SIZE = 25
# What stands on the approvals page at once; the oldest come first, so the rest moves up.
APPROVALS = 50

Text = Thread | Post


def text_url(text: Text) -> str:
    """Return where a text is read."""
    return f"{text.thread.get_absolute_url()}#post-{text.pk}" if isinstance(text, Post) else text.get_absolute_url()


def _context(member: Member, text: Text, **more: Any) -> dict[str, Any]:
    thread = text.thread if isinstance(text, Post) else text
    kind = ("comment" if text.parent_id else "reply") if isinstance(text, Post) else thread.get_kind_display().lower()
    return {"member": member, "text": text, "thread": thread, "kind": kind, "section": "threads"} | more


def _back(request: SignedInRequest, text: Text) -> HttpResponse:
    """Return to the queue a button was pressed in, else to the text."""
    queue = {"flags": "forum:flags", "approvals": "forum:approvals"}.get(request.POST.get("from", ""))
    thread = text.thread if isinstance(text, Post) else text
    return redirect(queue, slug=thread.course.slug) if queue else redirect(text_url(text))


# Flags


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def flag(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Ask staff to look at a text."""
    member = get_member(request.user, slug)
    text = access.get_text(member, number, post_id)
    access.require(access.may_flag(member, text))
    form = FlagForm(request.POST or None)
    status = 422 if form.errors else 200
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            actions.flag_text(by=member, text=text, reason=FlagReason(data["reason"]), details=data["details"])
            messages.success(request, "Thank you. Staff will look at it.")
            return redirect(text_url(text))
        except access.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    return render(request, "forum/flag.html", _context(member, text, form=form), status=status)


@login_required
@require_safe
def flags(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the texts somebody flagged, newest first; `show=closed` those staff have decided about."""
    return flags_page(request, get_member(request.user, slug))


def flags_page(
    request: SignedInRequest, member: Member, *, refused: DecisionForm | None = None, about: Text | None = None
) -> HttpResponse:
    """Render the flags, with a refused decision under the text it was about."""
    require_staff(member)
    closed = request.GET.get("show") == "closed"
    rows = Flag.objects.visible_to(member).in_sight().filter(status=FlagStatus.OPEN)
    if closed:
        rows = Flag.objects.visible_to(member).exclude(status=FlagStatus.OPEN)
    scope = f"{member.course.pk}:flags:{closed}"
    try:
        found = page(
            rows.one_per_decision().with_text(), order="created_at", cursor=request.GET.get("cursor", ""),
            size=PAGE_SIZE, scope=scope,
        )  # fmt: skip
    except BadCursor:
        messages.error(request, "This page address is damaged or out of date. Showing the first page.")
        found = page(rows.one_per_decision().with_text(), order="created_at", cursor="", size=PAGE_SIZE, scope=scope)
    about_each = rows.about_same_as(found.items)
    groups = [_group(member, first, about_each[first.pk]) for first in found.items]
    context = {
        "member": member,
        "groups": groups,
        "closed": closed,
        "refused": refused,
        "about": about.pk if about else None,
        "decisions": DecisionForm.base_fields["decision"].choices,  # type: ignore[attr-defined]
        "next": found.next_cursor,
        "section": "flags",
    }
    return render(request, "forum/flags.html", context, status=422 if refused else 200)


def _group(member: Member, first: Flag, all_of_it: list[Flag]) -> dict[str, Any]:
    text: Text = first.post or first.thread
    first.thread.course = member.course
    if first.post is not None:
        first.post.thread = first.thread
    return {
        "text": text,
        "thread": first.thread,
        "post": first.post,
        "url": text_url(text),
        "flags": all_of_it,
        "first": first,
        "may_judge": access.may_judge(member, text),
    }


@login_required
@require_POST
def decide(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Decide about all open flags of a text."""
    member = get_member(request.user, slug)
    text = access.get_text(member, number, post_id)
    require_staff(member)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        return flags_page(request, member, refused=form, about=text)
    decision = actions.Decision(form.cleaned_data["decision"])
    try:
        count = actions.decide_flags(by=member, text=text, decision=decision, note=form.cleaned_data["note"])
        messages.success(request, f"Decided. {count} flag{'s are' if count > 1 else ' is'} closed.")
    except access.Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("forum:flags", slug=slug)


# Hiding and approving


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def hide(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Take a text out of sight, with a reason; one that waits for approval is refused so."""
    member = get_member(request.user, slug)
    text = access.get_text(member, number, post_id)
    require_staff(member)
    access.require(access.may_judge(member, text))
    form = HideForm(request.POST or None)
    status = 422 if form.errors else 200
    if request.method == "POST" and form.is_valid():
        try:
            actions.hide_text(by=member, text=text, reason=form.cleaned_data["reason"])
            messages.success(request, "Hidden. Only its author and staff see it now.")
            return _back(request, text)
        except access.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    context = _context(member, text, form=form, origin=request.POST.get("from", ""))
    return render(request, "forum/hide.html", context, status=status)


def _decided(
    request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None, act: Any, done: str
) -> HttpResponse:
    member = get_member(request.user, slug)
    text = access.get_text(member, number, post_id)
    require_staff(member)
    try:
        act(by=member, text=text)
        messages.success(request, done)
    except access.Refused as refusal:
        messages.error(request, str(refusal))
    return _back(request, text)


@login_required
@require_POST
def unhide(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Let everybody see a hidden text again."""
    return _decided(
        request, slug, number, post_id, actions.unhide_text, "Everybody who may read the thread sees it again."
    )


@login_required
@require_POST
def approve(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Let others see a text that waited."""
    return _decided(request, slug, number, post_id, actions.approve_text, "Approved. Others see it now.")


@login_required
@require_safe
def approvals(request: SignedInRequest, slug: str) -> HttpResponse:
    """List what waits for approval, oldest first."""
    member = get_member(request.user, slug)
    require_staff(member)
    texts = access.waiting_texts(member, APPROVALS + 1)
    shown = [
        {"text": text, "thread": text.thread if isinstance(text, Post) else text, "post": _post(text), "url": text_url(text),
         "may_judge": access.may_judge(member, text)}
        for text in texts[:APPROVALS]
    ]  # fmt: skip
    context = {"member": member, "shown": shown, "more": len(texts) > APPROVALS, "section": "approvals"}
    return render(request, "forum/approvals.html", context)


def _post(text: Text) -> Post | None:
    return text if isinstance(text, Post) else None


@login_required
@require_POST
def approve_all(request: SignedInRequest, slug: str) -> HttpResponse:
    """Approve all texts that stood on the page or, when one can't be, none."""
    member = get_member(request.user, slug)
    require_staff(member)
    try:
        texts = access.get_waiting(member, request.POST.getlist("text")[:APPROVALS])
        count = actions.approve_all(by=member, texts=texts)
        messages.success(request, f"Approved {count} text{'s' if count != 1 else ''}. Others see them now.")
    except access.Refused as refusal:
        messages.error(request, f"Nothing was approved. {refusal} Look again.")
    return redirect("forum:approvals", slug=slug)


# People


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def ban(request: SignedInRequest, slug: str, person_id: uuid.UUID) -> HttpResponse:
    """Take away somebody's right to post, or (`lift`) give it back."""
    member = get_member(request.user, slug)
    require_staff(member)
    person = access.get_enrollment(member, person_id)
    access.require(may_ban(member, person))
    if "lift" in request.POST:
        lift_ban(by=member, person=person)
        messages.success(request, f"{person.user.display_name} may post again.")
        return redirect("forum:ban", slug=slug, person_id=person_id)
    initial = {"reason": person.ban_reason, "until": person.banned_until} if person.is_banned_now else {}
    form = BanForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        set_ban(by=member, person=person, **form.cleaned_data)
        messages.success(request, f"{person.user.display_name} can read, and can’t post.")
        return redirect("forum:ban", slug=slug, person_id=person_id)
    context = {"member": member, "person": person, "form": form, "section": "threads"}
    return render(request, "forum/ban.html", context, status=422 if form.errors else 200)
