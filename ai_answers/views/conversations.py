"""Private conversations with the course's machine. Each is its owner's alone: to everybody else it isn't there."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, Refused, SignedInRequest, get_member
from accounts.actions import store_export
from accounts.decorators import login_required
from ai_answers import access, actions, exporting
from ai_answers.forms import MessageForm
from ai_answers.models import Conversation, Message, Speaker
from ai_answers.transcripts import shown
from ai_answers.views.disclosures import consent_context
from forum.access import members_of
from quokkaq.lib.events import Event, stream
from quokkaq.lib.keyset import BadCursor, page

PAGE_SIZE = 25
# The overview shows so many conversations of each course.
RECENT = 5


@login_required
@require_safe
def overview(request: SignedInRequest) -> HttpResponse:
    """List the person's latest conversations, course by course."""
    members = members_of(request.user)
    recent: dict[uuid.UUID, list[Conversation]] = {course_id: [] for course_id in members}
    mine = Conversation.objects.latest_of(request.user, members, RECENT)
    for conversation in mine:
        recent[conversation.course_id].append(conversation)
    courses = [(members[course_id], found) for course_id, found in recent.items()]
    return render(request, "ai_answers/conversations_overview.html", {"courses": courses})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def conversations(request: SignedInRequest, slug: str) -> HttpResponse:
    """List the member's conversations in the course, and begin one."""
    member = get_member(request.user, slug)
    form = MessageForm(request.POST or None, initial={"form_key": uuid.uuid4()})
    status, wait = 200, 0
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                begun = actions.start_conversation(by=member, text=form.cleaned_data["text"], form_key=form.key())
                return redirect("ai_answers:conversation", slug=slug, conversation_id=begun.pk)
            except Refused as refusal:
                form.add_error(None, f"{refusal} What you wrote is still below.")
                status = 429 if isinstance(refusal, actions.AskedTooOften) else 409
                wait = getattr(refusal, "seconds", 0)
    return _told_to_wait(_listing(request, member, form, status), wait)


def _told_to_wait(response: HttpResponse, seconds: int) -> HttpResponse:
    if seconds:
        response["Retry-After"] = str(seconds)
    return response


def _listing(request: SignedInRequest, member: Member, form: MessageForm, status: int) -> HttpResponse:
    mine = Conversation.objects.visible_to(member).chats()
    cursor, scope, problem = request.GET.get("cursor", ""), f"conversations:{member.course.pk}", ""
    try:
        found = page(mine, order="last_message_at", cursor=cursor, size=PAGE_SIZE, scope=scope)
    except BadCursor:
        problem = "This page address is damaged or out of date. Showing the first page."
        found = page(mine, order="last_message_at", cursor="", size=PAGE_SIZE, scope=scope)
    context = {
        "member": member,
        "form": form,
        "conversations": found.items,
        "next": found.next_cursor,
        "cursor": "" if problem else cursor,
        "problem": problem,
        "closed": access.why_no_conversation(member, access.policy_of(member.course)),
        "section": "ai",
    } | consent_context(member, request.path)
    return render(request, "ai_answers/conversations.html", context, status=400 if problem else status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def conversation(request: SignedInRequest, slug: str, conversation_id: uuid.UUID) -> HttpResponse:
    """Read a conversation, and ask on."""
    member = get_member(request.user, slug)
    found = access.get_conversation(member, conversation_id)
    form = MessageForm(request.POST or None, initial={"form_key": uuid.uuid4()})
    status, wait = 200, 0
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                reply = actions.ask(by=member, conversation=found, text=form.cleaned_data["text"], form_key=form.key())
                return redirect(_address(member, reply))
            except Refused as refusal:
                form.add_error(None, f"{refusal} What you wrote is still below.")
                status = 429 if isinstance(refusal, actions.AskedTooOften) else 409
                wait = getattr(refusal, "seconds", 0)
    said = shown(member, access.messages_of(member, found))
    context = {
        "member": member,
        "conversation": found,
        "thread": access.shared_as(member, found),
        "said": said,
        "has_answer": any(one.by_machine and one.body for one in said),
        "exports": exporting.NAMES,
        "form": form,
        "closed": access.why_no_conversation(member, access.policy_of(member.course)),
        "section": "ai",
    } | consent_context(member, request.path)
    return _told_to_wait(render(request, "ai_answers/conversation.html", context, status=status), wait)


@login_required
@require_safe
def message(request: SignedInRequest, slug: str, message_id: uuid.UUID) -> HttpResponse:
    """Show one answer alone: the page asks for it while the answer is being written."""
    member = get_member(request.user, slug)
    found = access.get_message(member, message_id)
    if not request.htmx:
        return redirect(_address(member, found))
    return HttpResponse(_fragment(member, found, request))


@login_required
@require_safe
def message_stream(request: SignedInRequest, slug: str, message_id: uuid.UUID) -> HttpResponseBase:
    """Send one answer as it grows, statement by statement."""
    member = get_member(request.user, slug)
    access.get_message(member, message_id)

    def look() -> Event | None:
        try:
            # Asked again each time: whoever is taken out of the course gets no more.
            again = get_member(request.user, slug)
            found = access.get_message(again, message_id)
        except Http404:
            return None
        version = f"{found.attempts}-{found.state}-{len(found.body)}-{found.stop_asked_at is not None}"
        return Event(version, _fragment(again, found, request), last=not found.is_pending)

    return stream(look, seen=request.headers.get("Last-Event-ID", ""))


@login_required
@require_POST
def stop_message(request: SignedInRequest, slug: str, message_id: uuid.UUID) -> HttpResponse:
    """Let the machine say no more."""
    member = get_member(request.user, slug)
    found = access.get_message(member, message_id)
    actions.stop_reply(by=member, message=found)
    return _after(request, member, found)


@login_required
@require_POST
def retry_message(request: SignedInRequest, slug: str, message_id: uuid.UUID) -> HttpResponse:
    """Let the machine try again, after a failure or a stop."""
    member = get_member(request.user, slug)
    found = access.get_message(member, message_id)
    try:
        actions.retry_reply(by=member, message=found)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return _whole_page(request, _address(member, found))
    return _after(request, member, found)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete_conversation(request: SignedInRequest, slug: str, conversation_id: uuid.UUID) -> HttpResponse:
    """Ask whether one is sure, and delete a conversation for good."""
    member = get_member(request.user, slug)
    found = access.get_conversation(member, conversation_id)
    if request.method == "POST":
        actions.delete_conversation(by=member, conversation=found)
        messages.success(request, "The conversation is deleted, for good.")
        return redirect("ai_answers:conversations", slug=slug)
    context = {"member": member, "conversation": found, "section": "ai"}
    return render(request, "ai_answers/conversation_delete.html", context)


@login_required
@require_POST
def export_conversation(request: SignedInRequest, slug: str, conversation_id: uuid.UUID, kind: str) -> HttpResponse:
    """Make a file of a conversation with its quotations and where they come from, and hand it out; it is kept a week."""
    member = get_member(request.user, slug)
    found = access.get_conversation(member, conversation_id)
    found.thread = access.shared_as(member, found)
    response = exporting.export(kind, found, shown(member, access.messages_of(member, found)))
    if response is None:
        raise Http404
    file = store_export(
        by=request.user, course=member.course, name=exporting.file_name(kind, found),
        content_type=response["Content-Type"].partition(";")[0], data=response.content,
    )  # fmt: skip
    return redirect("accounts:file", upload_id=file.pk)


def conversation_as_thread(member: Member, key: str) -> dict[str, str] | None:
    """Return what a thread made of a conversation of the member's begins with; None when there is no such one."""
    try:
        found = access.get_conversation(member, uuid.UUID(key))
    except (Http404, ValueError):
        return None
    return exporting.as_thread(found, shown(member, access.messages_of(member, found)))


def question_as_thread(member: Member, key: str) -> dict[str, str] | None:
    """Return what a thread begins with that asks the course what the machine couldn't answer (the answer's id)."""
    try:
        reply = access.get_message(member, uuid.UUID(key))
    except (Http404, ValueError):
        return None
    asked = Message.objects.visible_to(member).filter(
        conversation=reply.conversation, position=reply.position - 1, speaker=Speaker.PERSON
    )
    text = asked.values_list("body", flat=True).first()
    return {"title": exporting.as_title(text), "body": text} if text else None


def _fragment(member: Member, found: Message, request: SignedInRequest) -> str:
    (one,) = shown(member, [found])
    return render_to_string("ai_answers/_message.html", {"one": one, "member": member}, request)


def _after(request: SignedInRequest, member: Member, found: Message) -> HttpResponse:
    if request.htmx:
        return HttpResponse(_fragment(member, access.get_message(member, found.pk), request))
    return redirect(_address(member, found))


def _whole_page(request: SignedInRequest, address: str) -> HttpResponse:
    """Lead to a page, also out of a fragment."""
    if request.htmx:
        return HttpResponse(headers={"HX-Redirect": address})
    return redirect(address)


def _address(member: Member, found: Message) -> str:
    page_of = reverse("ai_answers:conversation", args=[member.course.slug, found.conversation_id])
    return f"{page_of}#message-{found.position}"
