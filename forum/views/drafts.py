"""Drafts and saved views: what people keep for themselves."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.access import Member, SignedInRequest, get_member, require_writer
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import SavedViewForm
from forum.models import SavedView


@login_required
@require_POST
def save_draft(
    request: SignedInRequest, slug: str, number: int | None = None, post_id: uuid.UUID | None = None
) -> HttpResponseBase:
    """Keep what stands in a form, or (`discard`) forget it. The page calls this while somebody types."""
    member = get_member(request.user, slug)
    require_writer(member)
    thread = access.get_thread_of_posts(member, number) if number is not None else None
    post = access.get_post(member, thread, post_id) if thread and post_id else None
    problem = ""
    if "discard" in request.POST:
        actions.discard_draft(by=member, thread=thread, post=post)
    else:
        try:
            actions.save_draft(by=member, thread=thread, post=post, fields=_fields(request))
        except access.Refused as refusal:
            problem = str(refusal)
    if request.htmx:
        return render(request, "forum/_draft_saved.html", {"problem": problem})
    if problem:
        messages.error(request, problem)
    else:
        messages.success(request, "Draft discarded." if "discard" in request.POST else "Draft saved. Only you see it.")
    return redirect(_form_page(member, number))


def _fields(request: SignedInRequest) -> dict[str, str | list[str]]:
    """Return what the form holds; characters the database can't store are left out of the draft."""
    fields: dict[str, str | list[str]] = {}
    for name in actions.DRAFT_FIELDS:
        values = [_storable(value) for value in request.POST.getlist(name) if isinstance(value, str)]
        if values:
            fields[name] = values if name in actions.DRAFT_LISTS else values[-1]
    return fields


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _form_page(member: Member, number: int | None) -> str:
    if number is None:
        return reverse("forum:ask", args=[member.course.slug])
    return f"{reverse('forum:thread', args=[member.course.slug, number])}#reply"


@login_required
@require_POST
def save_view(request: SignedInRequest, slug: str) -> HttpResponse:
    """Keep the view of the list that is shown under a name."""
    member = get_member(request.user, slug)
    form = SavedViewForm(request.POST)
    if form.is_valid():
        try:
            actions.save_view(by=member, name=form.cleaned_data["name"], query=form.cleaned_data["query"])
        except access.Refused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, "The view is saved. You find it beside the list.")
    else:
        messages.error(request, str(next(iter(form.errors.values()))[0]))
    return redirect(f"{reverse('forum:list', args=[slug])}?{form.cleaned_data.get('query', '')}")


@login_required
@require_POST
def delete_view(request: SignedInRequest, slug: str, view_id: uuid.UUID) -> HttpResponse:
    """Forget a saved view."""
    member = get_member(request.user, slug)
    view = SavedView.objects.visible_to(member).filter(pk=view_id).first()
    if view is None:
        raise Http404
    actions.delete_view(by=member, view=view)
    messages.success(request, "The view is deleted.")
    return redirect("forum:list", slug=slug)
