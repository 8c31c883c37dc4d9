"""Signing in and out, my courses, my settings."""

import uuid

from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import actions
from accounts.access import SignedInRequest, get_person
from accounts.decorators import login_required
from accounts.forms import AvatarForm, ProfileForm, SignInForm
from accounts.models import Course, Enrollment
from quokkaq.lib.images import RefusedImage
from quokkaq.lib.storage import serve


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Send people to their courses; those who aren't signed in, to the sign-in page first."""
    return redirect("accounts:courses")


@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign somebody in and bring them where they wanted to go, if that is on this site."""
    if request.method != "POST":
        if request.user.is_authenticated:
            return redirect("accounts:courses")
        return render(
            request,
            "accounts/sign_in.html",
            {"form": SignInForm(request, initial={"next": request.GET.get("next")}), "kept": []},
        )
    form = SignInForm(request, request.POST)
    if not form.is_valid() or form.user is None:
        return render(request, "accounts/sign_in.html", {"form": form, "kept": []}, status=422)
    login(request, form.user)
    target = form.cleaned_data["next"]
    # A plain word would be looked up as the name of a view.
    safe = target.startswith("/") and url_has_allowed_host_and_scheme(
        target, {request.get_host()}, require_https=request.is_secure()
    )
    return redirect(target if safe else "accounts:courses")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("accounts:sign-in")


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
        return _profile_page(request, ProfileForm(instance=request.user), AvatarForm())
    form = ProfileForm(request.POST, instance=request.user)
    if not form.is_valid():
        request.user.refresh_from_db()  # the form wrote the refused values on the instance the page also shows
        return _profile_page(request, form, AvatarForm(), status=422)
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
    form = AvatarForm(request.POST, request.FILES)
    if form.is_valid():
        upload = form.cleaned_data["picture"]
        try:
            actions.set_avatar(by=request.user, upload=upload, size=upload.size)
        except RefusedImage as refusal:
            form.add_error("picture", str(refusal))
        else:
            messages.success(request, "Your picture is changed.")
            return redirect("accounts:profile")
    return _profile_page(request, ProfileForm(instance=request.user), form, status=422)


@login_required
@require_POST
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
    return serve(person.avatar)


def _profile_page(
    request: SignedInRequest, form: ProfileForm, avatar_form: AvatarForm, *, status: int = 200
) -> HttpResponse:
    courses = Course.objects.visible_to(request.user) if request.user.feed_key else Course.objects.none()
    feeds = [
        (course, request.build_absolute_uri(reverse("feed", args=[request.user.feed_key, course.slug])))
        for course in courses
    ]
    context = {"form": form, "avatar_form": avatar_form, "feeds": feeds}
    return render(request, "accounts/profile.html", context, status=status)
