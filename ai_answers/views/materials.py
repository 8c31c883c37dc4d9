"""The course's materials."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import SequenceMatcher

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, Refused, SignedInRequest, get_member, require_staff, require_writer
from accounts.decorators import login_required
from accounts.models import Purpose
from accounts.uploading import Files, take_files
from ai_answers import access, actions
from ai_answers.forms import MaterialForm
from ai_answers.models import (
    PASSAGES_PER_PAGE,
    Answer,
    ImportState,
    Material,
    MaterialFormat,
    MaterialImport,
    MaterialKind,
    MaterialVersion,
    Passage,
)
from ai_answers.parsing import NOTES
from forum.differences import Stretch, difference
from quokkaq.lib.markdown import render as render_markdown
from quokkaq.lib.storage import serve

# So long a file that was read is mentioned above the list; so many lines stand there.
SHOWN_AFTER = timedelta(minutes=10)
MAX_IMPORTS = 50
MAX_DELETED = 50
# Changes on a page, and characters of one that are compared word by word.
MAX_CHANGES = 200
MAX_COMPARED = 10_000


@login_required
@require_safe
def materials(request: SignedInRequest, slug: str) -> HttpResponse:
    """List what the course is taught from by kind; to staff, also what is being read and what was deleted."""
    member = get_member(request.user, slug)
    listed = Material.objects.visible_to(member).taught().listed()
    deleted = Material.objects.deleted_in(member).order_by("-deleted_at")[:MAX_DELETED]
    context = {"member": member, "groups": _by_kind(listed), "deleted": deleted, "section": "materials"}
    return render(request, "ai_answers/materials.html", context | _imports(member))


@login_required
@require_safe
def imports(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the files that are being read, to staff: the page asks for it until they are done."""
    member = get_member(request.user, slug)
    require_staff(member)
    if not request.htmx:
        return redirect("ai_answers:materials", slug=slug)
    return render(request, "ai_answers/_imports.html", {"member": member, "polled": True} | _imports(member))


@login_required
@require_POST
def retry_import(request: SignedInRequest, slug: str, import_id: uuid.UUID) -> HttpResponse:
    """Read a file again."""
    member = get_member(request.user, slug)
    require_staff(member)
    try:
        actions.retry_import(by=member, failed=access.get_import(member, import_id))
    except Refused as refusal:
        messages.error(request, str(refusal))
    return redirect("ai_answers:materials", slug=slug)


@login_required
@require_POST
def dismiss_import(request: SignedInRequest, slug: str, import_id: uuid.UUID) -> HttpResponse:
    """Forget a file that couldn't be read."""
    member = get_member(request.user, slug)
    require_staff(member)
    actions.dismiss_import(by=member, failed=access.get_import(member, import_id))
    return redirect("ai_answers:materials", slug=slug)


def _imports(member: Member) -> dict[str, object]:
    """Return the imports staff should look at: under way, failed, or done a moment ago."""
    recent = Q(finished_at__gte=timezone.now() - SHOWN_AFTER)
    rows = MaterialImport.objects.visible_to(member).filter(~Q(state=ImportState.READY) | recent)
    found = list(rows.select_related("version").defer("version__text")[:MAX_IMPORTS])
    return {"imports": found, "is_busy": any(row.is_under_way for row in found)}


def _by_kind(listed: Iterable[Material]) -> list[tuple[str, list[Material]]]:
    found: dict[str, list[Material]] = {}
    for one in listed:
        found.setdefault(one.kind, []).append(one)
    return [(kind.label, found[kind]) for kind in MaterialKind if kind in found]


@dataclass(frozen=True)
class ShownPassage:
    """A passage as a page shows it; the cited characters apart, so that they can be marked."""

    passage: Passage
    # The page, slide or cell, where another one begins; empty within it.
    place: str
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
        "original": access.find_original(member, version),
        "section": "materials",
    }
    return render(request, "ai_answers/material.html", context)


@login_required
@require_safe
def material_file(request: SignedInRequest, slug: str, material_id: uuid.UUID) -> HttpResponseBase:
    """Send staff the file that a version was read from, always as a download."""
    member = get_member(request.user, slug)
    require_staff(member)
    version = access.get_version(member, access.get_material(member, material_id), _number(request, "v"))
    original = access.find_original(member, version)
    if original is None:
        raise Http404
    return serve(original.storage_key, content_type="application/octet-stream", download_as=original.original_name)


@login_required
@require_safe
def material_versions(request: SignedInRequest, slug: str, material_id: uuid.UUID) -> HttpResponse:
    """Show which versions there are, and what changed from the one before to `v` (the newest)."""
    member = get_member(request.user, slug)
    found = access.get_material(member, material_id)
    version = access.get_version(member, found, _number(request, "v"))
    versions = list(MaterialVersion.objects.visible_to(member).filter(material=found).defer("text"))
    before = next((row for row in versions if row.number < version.number), None)
    context = {
        "member": member,
        "material": found,
        "version": version,
        "versions": versions,
        "before": before,
        "changes": _changes(before, version) if before else [],
        "section": "materials",
    }
    return render(request, "ai_answers/material_versions.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete_material(request: SignedInRequest, slug: str, material_id: uuid.UUID) -> HttpResponse:
    """Ask whether a material shall go, saying what quotes it, and take it away."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_writer(member)
    found = access.get_material(member, material_id)
    if request.method == "POST":
        actions.delete_material(by=member, material=found)
        messages.success(request, f"“{found.title}” is deleted. Answers that quote it are being checked.")
        return redirect("ai_answers:materials", slug=slug)
    quoting = Answer.objects.visible_to(member).shown().filter(citations__version__material=found).distinct().count()
    context = {"member": member, "material": found, "quoting": quoting, "section": "materials"}
    return render(request, "ai_answers/material_delete.html", context)


@login_required
@require_POST
def restore_material(request: SignedInRequest, slug: str, material_id: uuid.UUID) -> HttpResponse:
    """Bring a deleted material back."""
    member = get_member(request.user, slug)
    require_staff(member)
    found = access.get_deleted_material(member, material_id)
    try:
        actions.restore_material(by=member, material=found)
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("ai_answers:materials", slug=slug)
    return redirect("ai_answers:material", slug=slug, material_id=found.pk)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def add_material(request: SignedInRequest, slug: str, material_id: uuid.UUID | None = None) -> HttpResponse:
    """Add a material, or a version of one."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_writer(member)
    existing = access.get_material(member, material_id) if material_id else None
    initial = {"title": existing.title, "kind": existing.kind} if existing else None
    files = Files(Purpose.MATERIAL, slug)
    if request.method == "POST":
        files = take_files(request, request.user, Purpose.MATERIAL, member)
    form = MaterialForm(request.POST or None, files=files, member=member, material=existing, initial=initial)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid() and not files.problems:
            try:
                return _add(request, member, form, existing)
            except Refused as refusal:
                files.problems.append(str(refusal))
    context = {"member": member, "form": form, "files": files, "material": existing, "section": "materials"}
    return render(request, "ai_answers/material_form.html", context, status=status)


def _add(request: SignedInRequest, member: Member, form: MaterialForm, existing: Material | None) -> HttpResponse:
    """Store what a valid form brought: files are read in the background, a text at once."""
    data = form.cleaned_data
    kind = MaterialKind(data["kind"])
    uploads = form.uploads()
    with transaction.atomic():
        for upload, found in uploads:
            actions.start_import(
                by=member, title=form.title_of(upload, len(uploads)), kind=kind, format=found, upload=upload.pk,
                material=existing,
            )  # fmt: skip
    if uploads:
        return redirect("ai_answers:materials", slug=member.course.slug)
    version = actions.import_material(
        by=member,
        title=data["title"],
        kind=kind,
        format=MaterialFormat(data["format"]),
        text=data["text"],
        material=existing,
    )
    messages.success(request, f"“{data['title']}” is there, cut into {version.passages.count()} passages.")
    return redirect("ai_answers:material", slug=member.course.slug, material_id=version.material_id)


@dataclass(frozen=True)
class Change:
    """Passages that changed from one version to the next: where they stand, and what changed in words."""

    heading: str
    place: str
    stretches: list[Stretch]


def _changes(before: MaterialVersion, after: MaterialVersion) -> list[Change]:
    """Return what changed, passage by passage: whole texts may be too long to compare word by word.

    Passages are compared without the title of the material, which may have changed for all of them.
    """
    old, new = (list(version.passages.defer("search")) for version in (before, after))
    codes = SequenceMatcher(a=[p.text for p in old], b=[p.text for p in new]).get_opcodes()
    found: list[Change] = []
    for tag, i1, i2, j1, j2 in codes:
        if tag == "equal" or len(found) >= MAX_CHANGES:
            continue
        first = new[j1] if j2 > j1 else old[i1]
        was, now = ("\n\n".join(p.text for p in rows) for rows in (old[i1:i2], new[j1:j2]))
        if max(len(was), len(now)) <= MAX_COMPARED:
            stretches = difference(was, now)
        else:
            stretches = [Stretch(kind, text) for kind, text in (("removed", was), ("added", now)) if text]
        found.append(Change(first.heading, first.place, stretches))
    return found


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a whole number from the query string; None when missing, 404 when it is something else."""
    raw = request.GET.get(name)
    if raw is None:
        return None
    if not (raw.isascii() and raw.isdigit() and len(raw) < 9):
        raise Http404
    return int(raw)


def _place(passage: Passage) -> str:
    """Return the page, slide or cell of a passage; the notes of a slide are told from the slide."""
    return f"{passage.place}, notes" if passage.heading.endswith(NOTES) else passage.place


def _shown(version: MaterialVersion, passages: list[Passage], start: int | None, end: int | None) -> list[ShownPassage]:
    shown: list[ShownPassage] = []
    place = ""
    for passage in passages:
        here = _place(passage)
        from_ = max((start or 0) - passage.start, 0)
        to = max(min((end or 0) - passage.start, len(passage.text)), 0)
        is_cited = start is not None and from_ < to
        shown.append(
            ShownPassage(
                passage,
                here if here != place else "",
                render_markdown(passage.text) if version.format == MaterialFormat.MARKDOWN else "",
                passage.text[:from_] if is_cited else passage.text,
                passage.text[from_:to] if is_cited else "",
                passage.text[to:] if is_cited else "",
                is_cited,
                is_cited and not any(earlier.is_cited for earlier in shown),
            )
        )
        place = here
    return shown
