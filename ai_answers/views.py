"""The answer panel of a thread, and the course's materials."""

import uuid
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, require_staff, require_writer
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.citations import still_hold
from ai_answers.forms import MaterialForm
from ai_answers.models import (
    PASSAGES_PER_PAGE,
    Answer,
    AnswerStatus,
    Material,
    MaterialFormat,
    MaterialKind,
    MaterialVersion,
    Passage,
)
from forum.access import get_live_thread
from forum.models import Thread
from quokkaq.lib.markdown import render as render_markdown

# After this long a waiting answer is said to be late.
LATE_AFTER_SECONDS = 30


# Answers


def answer_panel(request: HttpRequest, member: Member, thread: Thread) -> str:
    """Return the HTML of the machine's answer to a thread, empty when none was asked for."""
    answer = access.find_answer(member, thread)
    if answer is None:
        return ""
    return render_to_string("ai_answers/_panel.html", _panel_context(member, thread, answer), request)


@login_required
@require_safe
def answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show the panel alone: the page asks for it while the answer is being written."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    found = access.get_answer(member, thread)
    if not request.htmx:
        return redirect("forum:thread", slug=slug, number=number)
    return render(request, "ai_answers/_panel.html", _panel_context(member, thread, found))


@login_required
@require_POST
def endorse_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Endorse the machine's answer as staff, or take it back (`on=0`)."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    found = access.get_answer(member, thread)
    actions.set_answer_endorsement(by=member, answer=found, on=request.POST.get("on") != "0")
    return _after_change(request, member, thread)


@login_required
@require_POST
def retry_answer(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Try again after a failure."""
    member = get_member(request.user, slug)
    thread = get_live_thread(member, number)
    actions.retry_answer(by=member, answer=access.get_answer(member, thread))
    return _after_change(request, member, thread)


def _after_change(request: SignedInRequest, member: Member, thread: Thread) -> HttpResponse:
    if request.htmx:
        context = _panel_context(member, thread, access.get_answer(member, thread))
        return render(request, "ai_answers/_panel.html", context)
    return redirect(f"{reverse('forum:thread', args=[member.course.slug, thread.number])}#ai-answer")


def _panel_context(member: Member, thread: Thread, found: Answer) -> dict[str, object]:
    citations = list(found.citations.all())
    # Quotations are checked again each time they are shown: a wrong one is never on a page, whatever happened to it.
    withheld = found.status == AnswerStatus.PUBLISHED and not still_hold(citations)
    return {
        "answer": found,
        "citations": [(c, c.source_url(member.course.slug)) for c in citations],
        "course": member.course,
        "is_late": found.is_pending and (timezone.now() - found.queued_at).total_seconds() > LATE_AFTER_SECONDS,
        "may_endorse": access.may_endorse(member, found) and not withheld,
        "may_retry": access.may_retry(member, found, thread),
        "member": member,
        "my_endorsement": any(e.endorser_id == member.user.pk for e in found.endorsements.all()),
        "thread": thread,
        "withheld": withheld,
    }


# Materials


@login_required
@require_safe
def materials(request: SignedInRequest, slug: str) -> HttpResponse:
    """List what the course is taught from."""
    member = get_member(request.user, slug)
    listed = Material.objects.visible_to(member).select_related("current_version").defer("current_version__text")
    return render(request, "ai_answers/materials.html", {"member": member, "materials": listed, "section": "materials"})


@dataclass(frozen=True)
class ShownPassage:
    """A passage as a page shows it; the cited characters apart, so that they can be marked."""

    passage: Passage
    html: str
    before: str
    cited: str
    after: str
    is_cited: bool
    is_first_cited: bool


@login_required
@require_safe
def material(request: SignedInRequest, slug: str, material_id: uuid.UUID) -> HttpResponse:
    """Show a version of a material (`v`), at and with the quotation from `start` to `end` marked, when given."""
    member = get_member(request.user, slug)
    found = access.get_material(member, material_id)
    version = access.get_version(member, found, _number(request, "v"))
    start, end = _number(request, "start"), _number(request, "end")
    passages = Passage.objects.visible_to(member).filter(version=version).order_by("position")
    page = _number(request, "page") or 0
    if start is not None and end is not None:
        at = passages.filter(start__lt=end, end__gt=start).values_list("position", flat=True).first()
        if at is None:
            raise Http404
        page = at // PASSAGES_PER_PAGE
    first = page * PASSAGES_PER_PAGE
    # Positions are numbered without gaps, so a page is a range of them.
    window = list(
        passages.filter(position__gte=first, position__lte=first + PASSAGES_PER_PAGE)
        .defer("search")
        .order_by("position")
    )
    if page and not window:
        raise Http404
    context = {
        "member": member,
        "material": found,
        "version": version,
        "passages": _shown(version, window[:PASSAGES_PER_PAGE], start, end),
        "previous_page": page - 1 if page else None,
        "next_page": page + 1 if len(window) > PASSAGES_PER_PAGE else None,
        "is_current": version.pk == found.current_version_id,
        "section": "materials",
    }
    return render(request, "ai_answers/material.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def add_material(request: SignedInRequest, slug: str, material_id: uuid.UUID | None = None) -> HttpResponse:
    """Add a material, or a version of one."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_writer(member)
    existing = access.get_material(member, material_id) if material_id else None
    initial = {"title": existing.title, "kind": existing.kind} if existing else None
    form = MaterialForm(request.POST or None, request.FILES or None, member=member, material=existing, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        version = actions.import_material(
            by=member,
            title=data["title"],
            kind=MaterialKind(data["kind"]),
            format=MaterialFormat(data["format"]),
            text=data["text"],
            material=existing,
        )
        messages.success(request, f"“{data['title']}” is there, cut into {version.passages.count()} passages.")
        return redirect("ai_answers:material", slug=slug, material_id=version.material_id)
    context = {"member": member, "form": form, "material": existing, "section": "materials"}
    return render(request, "ai_answers/material_form.html", context, status=422 if form.errors else 200)


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a whole number from the query string; None when missing, 404 when it is something else."""
    raw = request.GET.get(name)
    if raw is None:
        return None
    if not (raw.isascii() and raw.isdigit() and len(raw) < 9):
        raise Http404
    return int(raw)


def _shown(version: MaterialVersion, passages: list[Passage], start: int | None, end: int | None) -> list[ShownPassage]:
    shown: list[ShownPassage] = []
    for passage in passages:
        from_ = max((start or 0) - passage.start, 0)
        to = max(min((end or 0) - passage.start, len(passage.text)), 0)
        is_cited = start is not None and from_ < to
        shown.append(
            ShownPassage(
                passage,
                render_markdown(passage.text) if version.format == MaterialFormat.MARKDOWN else "",
                passage.text[:from_] if is_cited else passage.text,
                passage.text[from_:to] if is_cited else "",
                passage.text[to:] if is_cited else "",
                is_cited,
                is_cited and not any(earlier.is_cited for earlier in shown),
            )
        )
    return shown
