"""Coming into a course: by an invitation, or by a code."""

import math
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts import actions
from accounts.access import Refused, SignedInRequest, find_invitation, find_join_code
from accounts.decorators import login_required
from accounts.forms import JoinCodeForm, NewPersonForm
from accounts.models import CourseStatus, EnrollmentStatus, Invitation, JoinCode, User
from accounts.reaching import institution_of_email
from accounts.signing_in import start_session
from quokkaq.lib import tenancy
from quokkaq.lib.http import client_network
from quokkaq.lib.logs import unlogged

NO_SUCH_CODE = "This code doesn’t work. Check it, or ask for a new one."


# Invitations


@unlogged
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Let who holds the link of an invitation into the course; others learn nothing here."""
    found = find_invitation(token)
    if found is None:
        return _gone(request)
    user = request.user if isinstance(request.user, User) else None
    with tenancy.scope(found.institution_id, user.pk if user else None):
        if user is not None and found.accepted_by_id == user.pk and _reads(user, found):
            return redirect("forum:list", slug=found.course.slug)
        if not found.is_open:
            return _gone(request)
        if request.method == "POST" and "switch" in request.POST:
            logout(request)
            return redirect("accounts:invitation", token=token)
        if user is None:
            return _for_a_stranger(request, found, token)
        return _for_a_person(request, found, user)


def _reads(user: User, found: Invitation) -> bool:
    return user.enrollments.reading().filter(course=found.course_id).exists()


def _gone(request: HttpRequest) -> HttpResponse:
    """Answer for a link that never was, and for one that is over, alike."""
    return render(request, "accounts/invitation_gone.html", status=404)


def _for_a_person(request: HttpRequest, found: Invitation, user: User) -> HttpResponse:
    """Show one button to who was invited; say who was to anybody else who is signed in."""
    mine = user.email == found.email and user.institution_id == found.institution_id
    refusal = ""
    if request.method == "POST" and mine:
        try:
            actions.accept_invitation(by=user, invitation=found)
        except Refused as refused:
            refusal = str(refused)
        else:
            messages.success(request, f"Welcome to {found.course.code}.")
            return redirect("forum:list", slug=found.course.slug)
    context = {
        "invitation": found,
        "mine": mine,
        "refusal": refusal,
        "form": None,
        "sign_in": "",
        "elsewhere": user.email == found.email and not mine,
    }
    return render(request, "accounts/invitation.html", context, status=409 if refusal else 200)


def _for_a_stranger(request: HttpRequest, found: Invitation, token: str) -> HttpResponse:
    """Ask who has an account to sign in; let anybody else make one."""
    home = institution_of_email(found.email)
    refusal = ""
    form = NewPersonForm(request.POST if request.method == "POST" else None, invitation=found)
    if request.method == "POST" and home is None and form.is_valid():
        data = form.cleaned_data
        try:
            user = actions.accept_as_new_person(
                invitation=found, display_name=data["display_name"], password=data["password"]
            )
        except Refused as refused:
            refusal = str(refused)
        else:
            messages.success(request, f"Welcome to {found.course.code}.")
            target = reverse("forum:list", kwargs={"slug": found.course.slug})
            return start_session(request, user, method="invitation", target=target)
    query = urlencode({"next": reverse("accounts:invitation", args=[token])}, safe="/")
    context = {
        "invitation": found,
        "mine": False,
        "refusal": refusal,
        "form": form if home is None else None,
        "sign_in": f"{reverse('accounts:sign-in')}?{query}" if home == found.institution_id else "",
        "elsewhere": home is not None and home != found.institution_id,
    }
    return render(request, "accounts/invitation.html", context, status=409 if refusal else 422 if form.errors else 200)


# Join codes


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def join(request: SignedInRequest) -> HttpResponse:
    """Take a code that somebody types, and lead to the course it is for."""
    form = JoinCodeForm(request.POST if request.method == "POST" else None)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/join.html", {"form": form}, status=422 if form.errors else 200)
    typed = form.cleaned_data["code"]
    found = _try_code(request, typed, status=422)
    return redirect("accounts:join-course", code=found.code) if isinstance(found, JoinCode) else found


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def join_course(request: SignedInRequest, code: str) -> HttpResponse:
    """Show the course a code is for; POST joins it."""
    found = _try_code(request, code, status=404)
    if not isinstance(found, JoinCode):
        return found
    refusal = ""
    if request.method == "POST":
        try:
            actions.join_course(by=request.user, code=found)
        except Refused as refused:
            refusal = str(refused)
        else:
            messages.success(request, f"Welcome to {found.course.code}.")
            return redirect("forum:list", slug=found.course.slug)
    there = request.user.enrollments.filter(course=found.course_id).first()
    context = {
        "code": found,
        "refusal": refusal,
        "is_in": there is not None and there.status != EnrollmentStatus.DROPPED,
        "is_archived": found.course.status != CourseStatus.ACTIVE,
    }
    return render(request, "accounts/join_course.html", context, status=409 if refusal else 200)


def _try_code(request: SignedInRequest, typed: str, *, status: int) -> JoinCode | HttpResponse:
    """Return the code, or the page that says that it doesn't work, or how long to wait before the next try."""
    address = client_network(request)
    wait = actions.join_code_blocked(request.user, address)
    found = None if wait else find_join_code(request.user, typed)
    if found is not None:
        return found
    form = JoinCodeForm({"code": typed[:40]})
    form.full_clean()
    form.errors.clear()
    if not wait:
        actions.note_wrong_join_code(address)
        form.add_error("code", NO_SUCH_CODE)
        return render(request, "accounts/join.html", {"form": form}, status=status)
    minutes = math.ceil(wait / 60)
    form.add_error("code", f"Too many codes were tried. Try again in {minutes} minute{'' if minutes == 1 else 's'}.")
    response = render(request, "accounts/join.html", {"form": form}, status=429)
    response["Retry-After"] = str(wait)
    return response
