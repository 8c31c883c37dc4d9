"""The course's materials."""

import uuid
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from accounts.access import SignedInRequest, get_member, require_staff, require_writer
from accounts.decorators import login_required
from ai_answers import access, actions
from ai_answers.forms import MaterialForm
from ai_answers.models import PASSAGES_PER_PAGE, Material, MaterialFormat, MaterialKind, MaterialVersion, Passage
from quokkaq.lib.markdown import render as render_markdown


@login_required
@require_safe
def materials(request: SignedInRequest, slug: str) -> HttpResponse:
    """List what the course is taught from."""
    member = get_member(request.user, slug)
    listed = (
        Material.objects.visible_to(member).taught().select_related("current_version").defer("current_version__text")
    )
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
