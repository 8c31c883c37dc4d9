"""Notes among staff, on a thread."""

import uuid

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.access import SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from forum import access, actions
from forum.forms import StaffNoteForm
from forum.views.threads import thread_page


@login_required
@require_POST
def add_note(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Leave a note for the other staff; a refused text stays on the page."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    form = StaffNoteForm(request.POST, auto_id="note_%s")
    if not form.is_valid():
        return thread_page(request, member, thread, refused_note=form, status=422)
    actions.add_staff_note(by=member, thread=thread, body=form.cleaned_data["body"], form_key=form.key())
    return redirect(f"{reverse('forum:thread', args=[slug, number])}#notes")


@login_required
@require_POST
def delete_note(request: SignedInRequest, slug: str, number: int, note_id: uuid.UUID) -> HttpResponse:
    """Take back one's own note."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    actions.delete_staff_note(by=member, note=access.get_staff_note(member, thread, note_id))
    messages.success(request, "The note is deleted.")
    return redirect(thread)
