"""What waits for staff, and who of them sees to it."""

from collections.abc import Sequence
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.views.decorators.http import require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, require_staff
from accounts.decorators import login_required
from accounts.models import User
from forum import access, actions
from forum.forms import AssignForm
from forum.models import Thread
from forum.queue import Entry, Need, Row, load, queue, urgency
from quokkaq.lib.fragments import filled, hole, joined, kept_fragment
from quokkaq.lib.http import safe_target
from quokkaq.lib.markdown import plain_text
from quokkaq.lib.times import ago

PAGE_SIZE = 25
MOST = 200
WHO = {"all": "Everybody’s", "mine": "Mine", "unassigned": "Unassigned"}


@login_required
@require_safe
def staff_queue(request: SignedInRequest, slug: str) -> HttpResponse:
    """List what needs a human, the most urgent first; `shown` says how many rows."""
    member = get_member(request.user, slug)
    require_staff(member)
    who = request.GET.get("who", "all")
    need = request.GET.get("need", "")
    problem = "" if who in WHO and need in ("", *Need.values) else "There is no such filter. Showing everything."
    if problem:
        who, need = "all", ""
    of_these = [entry for entry in queue(member) if _is_of(entry, who, member.user.pk)]
    found = [entry for entry in of_these if not need or need in entry.urgency.needs]
    shown = _shown(request)

    def address(**changes: str | int) -> str:
        values = {"who": who, "need": need} | changes
        kept = {name: value for name, value in values.items() if value not in ("", "all")}
        return f"?{urlencode(kept)}" if kept else "?"

    staff = list(access.staff_of(member.course))
    token = get_token(request)
    rows = load(member, found[:shown])
    html = joined(_row(row, member, staff, after=request.get_full_path()) for row in rows)
    context = {
        "member": member,
        "rows": rows,
        "html": filled(html, {"csrf": token}),
        "csrf_token": token,
        "total": len(found),
        "is_filtered": who != "all" or bool(need),
        "problem": problem,
        "whose": [(address(who=key), label, who == key) for key, label in WHO.items()],
        "needs": [
            (address(need=""), "Everything", len(of_these), not need),
            *(
                (address(need=key), label, sum(key in entry.urgency.needs for entry in of_these), need == key)
                for key, label in Need.choices
            ),
        ],
        "more": address(shown=shown + PAGE_SIZE) if len(found) > shown and shown < MOST else "",
        "most": MOST if len(found) > shown >= MOST else 0,
        "formula": _formula(),
        "section": "queue",
    }
    return render(request, "forum/queue.html", context, status=400 if problem else 200)


def _row(row: Row, member: Member, staff: Sequence[User], *, after: str) -> SafeString:
    """Return a row as HTML, made once for all that it shows; its form's token is a hole, `csrf`."""
    thread, by, slug = row.thread, row.thread.byline(member), member.course.slug
    to = thread.assignee
    key = (
        slug, thread.pk, member.user.pk, member.may_write, after, tuple([(person.pk, person.display_name) for person in staff]),
        thread.number, thread.title, thread.visibility, thread.html(), tuple(map(tuple, thread.tag_pairs)), by.name, by.hidden,
        ago(thread.created_at), row.urgency, to and (to.pk, to.display_name, str(to.avatar)),
    )  # fmt: skip
    context = {
        "entry": row, "thread": thread, "by": by, "text": SimpleLazyObject(lambda: snippet(thread)), "member": member,
        "slug": slug, "staff": staff, "after_assigning": after, "csrf_token": hole("csrf"),
    }  # fmt: skip
    return kept_fragment("forum/_queue_row.html", key, context, {})


def _is_of(entry: Entry, who: str, me: object) -> bool:
    return who == "all" or (entry.assignee_id == me if who == "mine" else entry.assignee_id is None)


def _shown(request: SignedInRequest) -> int:
    """Return how many rows are asked for: whole pages, up to `MOST`."""
    asked = request.GET.get("shown", "")
    count = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else PAGE_SIZE
    return max(PAGE_SIZE, min(MOST, count))


def snippet(thread: Thread) -> str:
    """Return the beginning of the text, in plain words."""
    return Truncator(plain_text(thread.html())).chars(200)


def _formula() -> list[str]:
    """Return the lines of the formula as `urgency` documents it, so that page and code can't disagree."""
    lines = (urgency.__doc__ or "").splitlines()
    return [line.strip()[2:] for line in lines if line.strip().startswith("- ")]


@login_required
@require_POST
def assign_thread(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Give a thread to a member of staff, or to nobody, and go back to where that was said."""
    member = get_member(request.user, slug)
    thread = access.get_live_thread(member, number)
    require_staff(member)
    form = AssignForm(request.POST, member=member)
    if form.is_valid():
        to = form.cleaned_data["to"]
        try:
            actions.assign_thread(by=member, thread=thread, to=to)
        except access.Refused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(request, f"#{number} is assigned to {to}." if to else f"#{number} is assigned to nobody.")
    else:
        messages.error(request, str(form.errors["to"][0]))
    target = safe_target(request, request.POST.get("next"))
    return HttpResponseRedirect(target) if target else redirect(thread)
