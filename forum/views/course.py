"""How a course is set up: overview, settings and policies.

These pages show the people of the course (`accounts`) beside its threads, tags and texts (the forum), so they live
here: the forum may ask `accounts`, and not the other way round. What they change about the course and its people is
done by `accounts.actions`.
"""

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import actions as course_actions
from accounts.access import Member, Refused, SignedInRequest, get_member, may_set_up, require_instructor, require_staff
from accounts.decorators import login_required
from accounts.forms import ConfirmForm, CourseSettingsForm
from accounts.models import CourseStatus, Enrollment, Role
from forum.models import Assignment, Moderation, Post, ResponseTemplate, Tag, Thread


def waiting_for_approval(member: Member) -> int:
    """Return how many texts of the course wait for approval. Two queries."""
    threads = Thread.objects.visible_to(member).filter(moderation=Moderation.PENDING).count()
    return threads + Post.objects.visible_to(member).filter(moderation=Moderation.PENDING).count()


@login_required
@require_safe
def overview(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show how the course is set up, at a glance."""
    member = get_member(request.user, slug)
    require_staff(member)
    people = Enrollment.objects.of_course(member).exclude(status="dropped").aggregate(
        students=Count("pk", filter=Q(role=Role.STUDENT)),
        staff=Count("pk", filter=~Q(role=Role.STUDENT)),
        sections=Count("section", distinct=True, filter=~Q(section="")),
    )  # fmt: skip
    context = {
        "member": member,
        "people": people,
        "assignments": Assignment.objects.visible_to(member).count(),
        "next_due": Assignment.objects.visible_to(member).filter(due_at__gt=timezone.now()).first(),
        "tags": Tag.objects.visible_to(member).count(),
        "templates": ResponseTemplate.objects.visible_to(member).count(),
        "pending": waiting_for_approval(member),
        "closed": _closed(member),
        "section": "course",
        "part": "overview",
    }
    return render(request, "forum/course/overview.html", context)


def _closed(member: Member) -> bool:
    until = member.course.posting_closed_until
    return until is not None and until > timezone.now()


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    """Show the settings to staff, and let instructors change them."""
    member = get_member(request.user, slug)
    require_staff(member)
    if request.method != "POST":
        return _settings_page(request, member, CourseSettingsForm(instance=member.course))
    require_instructor(member)
    form = CourseSettingsForm(request.POST, instance=member.course)
    if not form.is_valid():
        return _settings_page(request, member, form, status=422)
    try:
        course_actions.update_course(by=member, fields=form.settings(), version=form.cleaned_data["version"])
    except Refused as refusal:
        return _settings_page(request, member, form, refusal=str(refusal), status=409)
    waiting = waiting_for_approval(member)
    left = f" {waiting} text{'' if waiting == 1 else 's'} still wait for approval, in the queue." if waiting else ""
    messages.success(request, f"The settings are saved.{left}")
    return redirect("forum:course-settings", slug=slug)


def _settings_page(
    request: SignedInRequest, member: Member, form: CourseSettingsForm, *, refusal: str = "", status: int = 200,
    archive_form: ConfirmForm | None = None,
) -> HttpResponse:  # fmt: skip
    member.course.refresh_from_db()
    context: dict[str, Any] = {
        "member": member,
        "form": form,
        "refusal": refusal,
        "theirs": list(form.differences()) if refusal else [],
        "version": course_actions.settings_version(member.course),
        "archive_form": archive_form or ConfirmForm(),
        "may_change": may_set_up(member, "settings"),
        "is_instructor": member.role == Role.INSTRUCTOR,
        "archived": member.course.status == CourseStatus.ARCHIVED,
        "closed": _closed(member),
        "pending": waiting_for_approval(member),
        "section": "course",
        "part": "settings",
    }
    return render(request, "forum/course/settings.html", context, status=status)


@login_required
@require_POST
def open_posting(request: SignedInRequest, slug: str) -> HttpResponse:
    """Let students post again now."""
    member = get_member(request.user, slug)
    require_staff(member)
    course_actions.lift_posting_stop(by=member)
    messages.success(request, "Students can post again.")
    return redirect("forum:course-settings", slug=slug)


@login_required
@require_POST
def archive(request: SignedInRequest, slug: str) -> HttpResponse:
    """Make the course read-only for everybody, or (`on=0`) bring it back."""
    member = get_member(request.user, slug)
    require_staff(member)
    require_instructor(member)
    form = ConfirmForm(request.POST)
    archived = request.POST.get("on", "1") != "0"
    if archived and not form.is_valid():
        return _settings_page(
            request, member, CourseSettingsForm(instance=member.course), archive_form=form, status=422
        )
    course_actions.set_archived(by=member, archived=archived)
    said = (
        "The course is archived: everybody can read it, nobody can write."
        if archived
        else "The course is active again."
    )
    messages.success(request, said)
    return redirect("forum:course-settings", slug=slug)
