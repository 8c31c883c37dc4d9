"""Keeping the people of a course like those of the same course on a learning platform."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import actions
from accounts.access import Member, Refused, SignedInRequest, get_member, may_set_up, require_set_up, require_staff
from accounts.decorators import login_required
from accounts.lti import differences
from accounts.lti.differences import Change, Kind
from accounts.models import LtiContext, LtiSync, Role, SyncState

_HEADINGS = {
    Kind.ADD: "New in the course",
    Kind.RETURN: "Back in the course",
    Kind.ROLE: "Another role",
    Kind.DROP: "Dropped from the course",
}
_PROBLEMS = {
    "timeout": "The platform took too long to answer.",
    "connection": "The platform couldn’t be reached.",
    "token": "The platform gave QuokkaQ no leave to read the list. Its names-and-roles service may be switched off.",
    "status_401": "The platform gave QuokkaQ no leave to read the list.",
    "status_403": "The platform gave QuokkaQ no leave to read the list.",
    "too_many": "The list is longer than QuokkaQ takes (10,000 people).",
    "stopped": "Fetching the list was cut off.",
}


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def lms(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show what a platform's list of members would change; POST fetches it anew, does what was shown, or unlinks."""
    member = get_member(request.user, slug)
    require_staff(member)
    if request.method != "POST":
        return _page(request, member)
    require_set_up(member, "people")
    try:
        if "apply" in request.POST:
            sync = _latest(member)
            if sync is None or str(sync.pk) != request.POST["apply"]:
                raise Refused("Somebody has fetched the list anew. This is what would happen now.")
            done = actions.apply_lti_sync(
                by=member, sync=sync, fingerprint=request.POST.get("seen", ""), leave=request.POST.getlist("leave")
            )
            messages.success(request, f"{done.added} added, {done.changed} changed, {done.dropped} dropped.")
        elif "unlink" in request.POST:
            context = _linked(member, request.POST["unlink"])
            actions.unlink_lti_context(by=member, context=context)
            messages.success(request, f"{context} is unlinked. Everybody who is in this course stays in it.")
        else:
            actions.start_lti_sync(by=member, context=_linked(member, request.POST.get("fetch", "")))
    except Refused as refusal:
        return _page(request, member, refusal=str(refusal), status=409)
    return redirect("forum:lms", slug=slug)


def _linked(member: Member, key: str) -> LtiContext:
    context = next((row for row in LtiContext.objects.of_course(member) if str(row.pk) == key), None)
    if context is None:
        raise Refused("This course isn’t linked with that one any more.")
    return context


def _latest(member: Member) -> LtiSync | None:
    return LtiSync.objects.of_course(member).select_related("context__deployment__platform", "started_by").first()


def _page(request: SignedInRequest, member: Member, *, refusal: str = "", status: int = 200) -> HttpResponse:
    sync = _latest(member)
    changes = actions.lti_changes(member, sync) if sync is not None and sync.state == SyncState.READY else []
    left = set(request.POST.getlist("leave"))
    context = {
        "member": member,
        "contexts": LtiContext.objects.of_course(member).select_related("deployment__platform", "linked_by"),
        "sync": sync,
        "problem": _PROBLEMS.get(sync.problem, "The platform didn’t answer as agreed.") if sync is not None else "",
        "groups": [(_HEADINGS[kind], _rows(changes, kind, left)) for kind in Kind],
        "count": len(changes),
        "seen": differences.fingerprint(changes),
        "refusal": refusal,
        "may_change": may_set_up(member, "people"),
        "section": "course",
        "part": "lms",
    }
    return render(request, "forum/course/lms.html", context, status=status)


def _rows(changes: list[Change], kind: Kind, left: set[str]) -> list[tuple[Change, str, str, bool]]:
    return [
        (change, Role(change.role).label, Role(change.old_role).label if change.old_role else "", change.key in left)
        for change in changes
        if change.kind == kind
    ]
