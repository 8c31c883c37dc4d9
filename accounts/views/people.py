"""My courses, my settings."""

import uuid

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import actions
from accounts.access import Refused, SignedInRequest, get_person
from accounts.decorators import login_required
from accounts.forms import ProfileForm
from accounts.models import Course, Enrollment, Purpose, Upload
from accounts.uploading import Files, take_files
from quokkaq.lib.logs import unlogged
from quokkaq.lib.storage import serve


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Send people to their courses; those who aren't signed in, to the sign-in page first."""
    return redirect("accounts:courses")


@login_required
@require_safe
def courses(request: SignedInRequest) -> HttpResponse:
    """List the courses the person is in, those running now first."""
    mine = (
        Enrollment.objects.reading()
        .filter(user=request.user, course__institution_id=request.user.institution_id)
        .select_related("course", "institution")
        .order_by("course__status", "course__code")
    )
    return render(request, "accounts/courses.html", {"enrollments": mine})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: SignedInRequest) -> HttpResponse:
    """Show and save what a person says about themselves."""
    if request.method != "POST":
        return _profile_page(request, ProfileForm(instance=request.user))
    form = ProfileForm(request.POST, instance=request.user)
    if not form.is_valid():
        request.user.refresh_from_db()  # the form wrote the refused values on the instance the page also shows
        return _profile_page(request, form, status=422)
    actions.update_profile(by=request.user, fields=form.cleaned_data)
    messages.success(request, "Your settings are saved.")
    return redirect("accounts:profile")


@login_required
@require_POST
def change_avatar(request: SignedInRequest) -> HttpResponse:
    """Take a new picture, or go back to initials."""
    if "remove" in request.POST:
        actions.remove_avatar(by=request.user)
        return redirect("accounts:profile")
    files = take_files(request, request.user, Purpose.AVATAR)
    if not files.uploads and not files.problems:
        files.problems.append("Choose a picture first.")
    if not files.problems:
        try:
            actions.choose_avatar(by=request.user, upload=files.uploads[-1].pk)
        except Refused as refusal:
            files.problems.append(str(refusal))
        else:
            return redirect("accounts:profile")
    return _profile_page(request, ProfileForm(instance=request.user), files, status=422)


@login_required
@require_POST
@unlogged
def change_feeds(request: SignedInRequest) -> HttpResponse:
    """Give the person's feeds new addresses, or (`remove`) none."""
    actions.set_feed_key(by=request.user, on="remove" not in request.POST)
    messages.success(request, "Your feeds are gone." if "remove" in request.POST else "Your feeds have new addresses.")
    return redirect(f"{reverse('accounts:profile')}#feeds")


@login_required
@require_safe
def avatar(request: SignedInRequest, person_id: uuid.UUID) -> HttpResponseBase:
    """Show the picture of somebody who shares a course with the reader."""
    person = get_person(request.user, person_id)
    if not person.avatar:
        raise Http404
    return serve(person.avatar, content_type="image/webp", inline=True)


def _profile_page(
    request: SignedInRequest, form: ProfileForm, files: Files | None = None, *, status: int = 200
) -> HttpResponse:
    courses = Course.objects.visible_to(request.user) if request.user.feed_key else Course.objects.none()
    feeds = [
        (course, request.build_absolute_uri(reverse("feed", args=[request.user.feed_key, course.slug])))
        for course in courses
    ]
    sent = Upload.objects.visible_to(request.user).filter(purpose=Purpose.AVATAR).exclude(attached_at=None)
    context = {
        "form": form, "feeds": feeds, "files": files or Files(Purpose.AVATAR),
        "picture": sent.order_by("-attached_at").first(),
    }  # fmt: skip
    return render(request, "accounts/profile.html", context, status=status)
