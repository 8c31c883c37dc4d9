"""What somebody is told: inbox, its count in the header, and how they want to be told."""

import uuid

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import SignedInRequest
from accounts.decorators import login_required
from accounts.models import Course, User
from forum import access, actions
from forum.forms import PreferencesForm
from forum.models import Notification
from forum.sentences import address, gather
from quokkaq.lib.keyset import BadCursor, page

PAGE_SIZE = 50


@login_required
@require_safe
def inbox(request: SignedInRequest) -> HttpResponse:
    """List what the person was told, newest first; `course` and `show=unread` narrow it."""
    members = access.members_of(request.user)
    course, problem = _course_asked_for(request, [member.course for member in members.values()])
    unread = request.GET.get("show") == "unread"
    rows = Notification.objects.visible_to(request.user).filter(in_app=True).with_what()
    rows = rows.filter(course=course) if course else rows
    rows = rows.filter(read_at=None) if unread else rows
    scope = f"{request.user.pk}:{course.pk if course else ''}:{unread}"
    cursor = request.GET.get("cursor", "")
    try:
        found = page(rows, order="created_at", cursor=cursor, size=PAGE_SIZE, scope=scope)
    except BadCursor:
        problem, cursor = "This page address is damaged or out of date. Showing the first page.", ""
        found = page(rows, order="created_at", cursor="", size=PAGE_SIZE, scope=scope)
    context = {
        "lines": gather(found.items, members),
        "courses": [member.course for member in members.values()],
        "course": course,
        "slug": course.slug if course else "",
        "unread": unread,
        "cursor": cursor,
        "next_cursor": found.next_cursor,
        "problem": problem,
    }
    return render(request, "forum/inbox.html", context, status=400 if problem else 200)


def _course_asked_for(request: SignedInRequest, courses: list[Course]) -> tuple[Course | None, str]:
    slug = request.GET.get("course", "")
    found = next((course for course in courses if course.slug == slug), None)
    return found, "You have no such course. Showing all of them." if slug and found is None else ""


@login_required
@require_safe
def count(request: SignedInRequest) -> HttpResponse:
    """Return the count for the header; 204 when it is the one the page `shown`, so that nothing is announced again."""
    waiting = access.unread_count(request.user)
    if request.GET.get("shown") == str(waiting):
        return HttpResponse(status=204)
    return render(request, "components/bell_now.html", {"waiting": waiting})


@login_required
@require_safe
def open_notification(request: SignedInRequest, notification_id: uuid.UUID) -> HttpResponse:
    """Go to what a notification is about, and note that it was read."""
    row = access.get_notification(request.user, notification_id)
    actions.mark_told_read(by=request.user, thread=row.thread)
    return HttpResponseRedirect(address(row))


@login_required
@require_POST
def read_all(request: SignedInRequest) -> HttpResponse:
    """Note that everything was read: in one course, or in all."""
    courses = [member.course for member in access.members_of(request.user).values()]
    course = next((course for course in courses if course.slug == request.POST.get("course")), None)
    if request.POST.get("course") and course is None:
        raise Http404
    actions.mark_all_told_read(by=request.user, course=course)
    messages.success(request, "Everything is marked as read.")
    return redirect(f"{reverse('inbox:list')}{f'?course={course.slug}' if course else ''}")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: SignedInRequest) -> HttpResponse:
    """Show and save how the person wants to be told, everywhere or (`course`) in one course."""
    members = access.members_of(request.user)
    course, problem = _course_asked_for(request, [member.course for member in members.values()])
    if problem:
        raise Http404
    is_staff = any(member.is_staff for member in members.values() if course in (None, member.course))
    data = request.POST if request.method == "POST" and "mail" not in request.POST else None
    said = actions.preferences_of(request.user, course)
    form = PreferencesForm(data, said=said, is_staff=is_staff, for_course=course is not None)
    if request.method == "POST" and _change(request.user, request, form, course):
        messages.success(request, "Saved. It counts from now on.")
        return redirect(request.get_full_path())
    context = {
        "form": form,
        "courses": [member.course for member in members.values()],
        "course": course,
        "mail_is_on": settings.MAIL_IS_ON,
    }
    return render(request, "forum/preferences.html", context, status=422 if form.errors else 200)


def _change(user: User, request: SignedInRequest, form: PreferencesForm, course: Course | None) -> bool:
    if request.POST.get("mail") == "stop":
        actions.stop_all_mail(by=user)
        return True
    if form.is_valid():
        actions.set_preferences(by=user, course=course, choices=form.choices())
        return True
    return False
