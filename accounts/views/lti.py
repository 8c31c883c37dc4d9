"""Coming in from a learning platform, and registering one."""

import uuid
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import actions, reaching
from accounts.access import (
    Refused,
    SignedInRequest,
    get_lti_context,
    get_lti_launch,
    get_lti_platform,
    get_member,
    linkable_threads,
    lti_cookie,
    require_lti_admin,
    require_staff,
)
from accounts.decorators import login_required
from accounts.forms import LinkCourseForm, LtiPlatformForm, MakeCourseForm
from accounts.lti import keys, memberships, protocol
from accounts.models import (
    LAUNCH_LIFE,
    Course,
    CourseStatus,
    Enrollment,
    Institution,
    LtiKey,
    LtiLaunch,
    LtiPlatform,
    Role,
    User,
)
from accounts.signing_in import start_session
from quokkaq.lib import tenancy
from quokkaq.lib.logs import refused, unlogged
from quokkaq.lib.metrics.definitions import SIGN_INS

# What is said of a refusal. Anything else couldn't be trusted, and doesn't say more to who sent it.
_WHY = {
    "state": "This browser didn’t bring back what it was given. Allow cookies, and open QuokkaQ in a window of its own.",
    "late": "That took too long.",
    "replay": "This link was used already.",
    "expired": "What your platform sent had run out.",
    "future": "Your platform’s clock is ahead of ours.",
    "deployment": "QuokkaQ doesn’t know this part of your platform yet. Tell whoever looks after your platform.",
    "platform": "QuokkaQ doesn’t know your platform. Tell whoever looks after it.",
    "inactive": "QuokkaQ takes nobody from this platform now.",
    "keys": "Your platform’s keys can’t be fetched now. Try again in a minute.",
}


# Published


@require_safe
@cache_control(public=True, max_age=600)
@unlogged
def jwks(request: HttpRequest, institution: str) -> HttpResponse:
    """Publish the keys an institution's platforms check our signatures with."""
    institution_id = _institution(institution)
    with tenancy.scope(institution_id):
        actions.current_lti_key(institution_id)
        # rule: unfiltered-manager (in the scope of the launch's, or the person's, institution)
        published = [keys.as_jwk(row.public_key) for row in LtiKey.objects.filter(institution_id=institution_id)]
    return JsonResponse({"keys": published})


@require_safe
@unlogged
def config(request: HttpRequest, institution: str) -> HttpResponse:
    """Describe QuokkaQ to Canvas, which takes its settings from here ("enter URL")."""
    _institution(institution)
    launch = request.build_absolute_uri(reverse("lti:launch"))
    placement = {"enabled": True, "text": "QuokkaQ", "target_link_uri": launch, "windowTarget": "_blank"}
    return JsonResponse({
        "title": "QuokkaQ",
        "description": "Questions and answers that can be checked",
        "oidc_initiation_url": request.build_absolute_uri(reverse("lti:login")),
        "target_link_uri": launch,
        "public_jwk_url": request.build_absolute_uri(reverse("lti:jwks", args=[institution])),
        "scopes": [memberships.SCOPE],
        "custom_fields": {},
        "extensions": [
            {
                "platform": "canvas.instructure.com",
                "privacy_level": "public",
                "settings": {
                    "placements": [
                        placement | {"placement": "course_navigation", "message_type": protocol.RESOURCE},
                        placement | {"placement": "link_selection", "message_type": protocol.DEEP_LINKING},
                    ]
                },
            }
        ],
    })  # fmt: skip


def _institution(slug: str) -> uuid.UUID:
    institution_id = reaching.institution_of_slug(slug)
    if institution_id is None:
        raise Http404
    return institution_id


# Coming in


# rule: csrf-exempt (state, nonce and signature prove who sent it)
@csrf_exempt  # the platform's page sends the browser here: its form can't know our token; nothing is changed for anybody
@never_cache
@require_http_methods(["GET", "POST"])
@unlogged
def login(request: HttpRequest) -> HttpResponseBase:
    """Send a browser that a platform sent to us back to it, to be told who it is."""
    sent = request.POST if request.method == "POST" else request.GET
    issuer, client_id = (sent.get(name, "").replace("\x00", "")[:255] for name in ("iss", "client_id"))
    institution_id = reaching.institution_of_lti_platform(issuer, client_id)
    if institution_id is None:
        return _refused(request, "platform")
    with tenancy.scope(institution_id):
        # rule: unfiltered-manager (in the scope of the launch's, or the person's, institution)
        found = LtiPlatform.objects.filter(institution_id=institution_id, issuer=issuer, is_active=True)
        platform = (found.filter(client_id=client_id) if client_id else found).get()
        try:
            started = protocol.start(request, platform, request.build_absolute_uri(reverse("lti:launch")))
        except protocol.LaunchRefused as refusal:
            return _refused(request, refusal.code)
        launch, secret = actions.start_lti_launch(platform=platform, state=started.state, nonce=started.nonce)
    response = redirect(started.url)
    # The platform posts the launch across sites: only a cookie with SameSite=None comes along. Browsers take one over TLS,
    # and from localhost.
    across = settings.SESSION_COOKIE_SECURE or request.get_host().partition(":")[0] == "localhost"
    response.set_cookie(
        lti_cookie(launch.pk), secret, max_age=int(LAUNCH_LIFE.total_seconds()), path=reverse("lti:root"), httponly=True,
        secure=across, samesite="None" if across else "Lax",
    )  # fmt: skip
    return response


# rule: csrf-exempt (state, nonce and signature prove who sent it)
@csrf_exempt  # posted by the platform's page; the state, tied to this browser's cookie, and the signed nonce do our token's work
@never_cache
@require_POST
@unlogged
def launch(request: HttpRequest) -> HttpResponseBase:
    """Take somebody in whom a platform vouches for, and bring them to their course."""
    state = request.POST.get("state", "")[:200]
    institution_id = reaching.institution_of_lti_state(protocol.hashed(state))
    if institution_id is None:
        return _refused(request, "state")
    with tenancy.scope(institution_id):
        try:
            row = actions.use_lti_launch(state=state, cookies=request.COOKIES)
        except protocol.LaunchRefused as refusal:
            return _refused(request, refusal.code)
        try:
            claims = protocol.check(request, row, state)
        except protocol.LaunchRefused as refusal:
            if refusal.deployment:
                actions.note_refused_deployment(platform=row.platform, deployment=refusal.deployment)
            return _refused(request, refusal.code)
        arrival = actions.take_lti_launch(launch=row, claims=claims)
    if arrival is actions.Arrival.CONNECT:
        return redirect("lti:connect", launch_id=row.pk)
    if arrival is actions.Arrival.SHUT_OUT or row.user is None:
        return _refused(request, "person")
    with tenancy.scope(institution_id, row.user.pk):
        onward = _go_on(request, row.user, row)
        if not isinstance(onward, HttpResponseRedirect):
            start_session(request, row.user, method="lti")
            return onward
        # A second step may come before it.
        return start_session(request, row.user, method="lti", target=onward.url)


def _refused(request: HttpRequest, code: str) -> HttpResponse:
    refused("lti.refused", code=code)
    SIGN_INS.inc("lti", "failed")
    why = _WHY.get(code, "What your platform sent can’t be trusted.")
    return render(request, "accounts/lti/refused.html", {"why": why, "code": code}, status=403)


def _go_on(request: HttpRequest, user: User, row: LtiLaunch) -> HttpResponseBase:
    """Bring somebody who is signed in where their launch leads."""
    place = actions.enter_lti_course(by=user, launch=row)
    if place.course is None:
        if place.may_link:
            return redirect("lti:course", launch_id=row.pk)
        return render(request, "accounts/lti/no_course.html", {"platform": row.platform}, status=404)
    if place.dropped:
        return render(request, "accounts/lti/dropped.html", {"course": place.course}, status=403)
    if row.claims["message_type"] == protocol.DEEP_LINKING:
        return redirect("lti:deep-link", launch_id=row.pk)
    if row.claims["thread"]:
        return redirect("forum:thread", place.course.slug, row.claims["thread"])
    return redirect("forum:list", place.course.slug)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def connect(request: HttpRequest, launch_id: uuid.UUID) -> HttpResponseBase:
    """Let the owner of an account with the launch's address connect it, once they have signed in."""
    with tenancy.scope(reaching.institution_of_lti_launch(launch_id)):
        row = get_lti_launch(launch_id, request.COOKIES.get(lti_cookie(launch_id), ""))
        if row.candidate is None:
            raise Http404
        user = request.user if isinstance(request.user, User) else None
        mine = user is not None and user.pk == row.candidate_id
        proved = mine and user is not None and actions.signed_in_since(user, row)
        problem = ""
        if request.method == "POST":
            if "again" in request.POST or user is None:
                logout(request)
                query = urlencode({"next": request.path}, safe="/")
                return redirect(f"{reverse('accounts:sign-in')}?{query}")
            try:
                actions.connect_lti_identity(by=user, launch=row)
            except Refused as refusal:
                problem = str(refusal)
            else:
                row.refresh_from_db()
                messages.success(request, f"You are connected with {row.platform}.")
                return _go_on(request, user, row)
        context = {"platform": row.platform, "mine": mine, "proved": proved, "problem": problem}
        return render(request, "accounts/lti/connect.html", context, status=409 if problem else 200)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def link_course(request: SignedInRequest, launch_id: uuid.UUID) -> HttpResponseBase:
    """Say which course a platform's course is: one of one's own, or a new one."""
    row = _own_launch(request, launch_id)
    actions.require_may_link(request.user, row)
    if get_lti_context(row) is not None:
        return _go_on(request, request.user, row)
    taught = Enrollment.objects.staff().filter(
        user=request.user, role=Role.INSTRUCTOR, course__institution_id=request.user.institution_id,
        course__status=CourseStatus.ACTIVE,
    )  # fmt: skip
    # rule: unfiltered-manager (in the scope of the launch's, or the person's, institution)
    courses = list(Course.objects.filter(pk__in=taught.values("course")))
    making = request.method == "POST" and "make" in request.POST
    claims = row.claims
    link = LinkCourseForm(request.POST if request.method == "POST" and not making else None, courses=courses)
    named = {"code": claims["context_label"], "name": claims["context_title"]}
    make = MakeCourseForm(request.POST if making else None, initial=named)
    status = 200
    if request.method == "POST":
        form: LinkCourseForm | MakeCourseForm = make if making else link
        status = 422
        if form.is_valid():
            try:
                if making:
                    actions.make_lti_course(by=request.user, launch=row, **form.cleaned_data)
                else:
                    actions.link_lti_context(by=request.user, launch=row, slug=form.cleaned_data["course"])
            except Refused as refusal:
                form.add_error(None, str(refusal))
                status = 409
            else:
                messages.success(request, "The courses are linked. Everybody who opens QuokkaQ there comes here now.")
                return _go_on(request, request.user, row)
    context = {
        "platform": row.platform, "title": claims["context_title"] or claims["context_label"], "courses": courses,
        "link": link, "make": make,
    }  # fmt: skip
    return render(request, "accounts/lti/link_course.html", context, status=status)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def deep_link(request: SignedInRequest, launch_id: uuid.UUID) -> HttpResponseBase:
    """Choose the thread a platform's course shall link to, and send the platform the signed answer."""
    row = _own_launch(request, launch_id)
    actions.require_launched(request.user, row)
    context = get_lti_context(row)
    if context is None or row.claims["message_type"] != protocol.DEEP_LINKING:
        raise Http404
    member = get_member(request.user, context.course.slug)
    require_staff(member)
    query = request.GET.get("q", "").replace("\x00", "").strip()[:100]
    problem = ""
    if request.method == "POST":
        chosen = request.POST.get("thread", "")
        found = dict(linkable_threads(member, "")) | dict(linkable_threads(member, query))
        if not (chosen.isascii() and chosen.isdigit()) or int(chosen[:9]) not in found:
            problem = "Choose a thread first."
        else:
            number = int(chosen)
            response = _deep_linked(request, row, found[number], number)
            try:
                actions.finish_deep_link(by=request.user, launch=row, member=member, number=number)
            except Refused as refusal:
                problem = str(refusal)
            else:
                return response
    page = {
        "member": member, "platform": row.platform, "threads": linkable_threads(member, query), "q": query,
        "problem": problem, "section": "threads",
    }  # fmt: skip
    return render(request, "accounts/lti/deep_link.html", page, status=422 if problem else 200)


def _deep_linked(request: SignedInRequest, row: LtiLaunch, title: str, number: int) -> HttpResponse:
    key = actions.current_lti_key(row.institution_id)
    url = request.build_absolute_uri(reverse("lti:launch"))
    token = protocol.sign_deep_link(row, key, title=title, url=url, number=number)
    context = {"platform": row.platform, "to": row.claims["return_url"], "token": token, "title": title}
    response = render(request, "accounts/lti/deep_linked.html", context)
    # This page's form goes to the platform; every other page's stay here.
    response._csp_update = {"form-action": [protocol.origin(row.claims["return_url"])]}  # type: ignore[attr-defined]
    return response


def _own_launch(request: SignedInRequest, launch_id: uuid.UUID) -> LtiLaunch:
    row = get_lti_launch(launch_id, request.COOKIES.get(lti_cookie(launch_id), ""))
    if row.institution_id != request.user.institution_id:
        raise Http404
    return row


# Registering platforms


@login_required
@require_safe
@unlogged
def platforms(request: SignedInRequest) -> HttpResponse:
    """List the institution's learning platforms, with what to enter there."""
    require_lti_admin(request.user)
    rows = LtiPlatform.objects.visible_to(request.user).prefetch_related("deployments")
    context = {"platforms": rows, "ours": _ours(request)}
    return render(request, "accounts/lti/platforms.html", context)


def _ours(request: SignedInRequest) -> list[tuple[str, str]]:
    """Return what somebody enters on the platform: label and value."""
    # rule: unfiltered-manager (in the scope of the launch's, or the person's, institution)
    slug = Institution.objects.values_list("slug", flat=True).get(pk=request.user.institution_id)
    named = [
        ("Login URL (OIDC initiation)", reverse("lti:login")),
        ("Launch and redirect URL (target link URI)", reverse("lti:launch")),
        ("Deep linking URL", reverse("lti:launch")),
        ("Key set URL (JWKS)", reverse("lti:jwks", args=[slug])),
        ("Canvas: JSON configuration URL", reverse("lti:config", args=[slug])),
    ]
    return [(label, request.build_absolute_uri(path)) for label, path in named]


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@unlogged
def platform(request: SignedInRequest, platform_id: uuid.UUID | None = None) -> HttpResponse:
    """Add a platform, or change one."""
    require_lti_admin(request.user)
    row = get_lti_platform(request.user, platform_id) if platform_id else None
    known = "\n".join(row.deployments.values_list("deployment_id", flat=True)) if row else ""
    form = LtiPlatformForm(
        request.POST if request.method == "POST" else None, instance=row, initial={"deployments": known}
    )
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            fields = {name: form.cleaned_data[name] for name in form.Meta.fields}
            try:
                actions.save_lti_platform(
                    by=request.user, platform=row, fields=fields, deployments=form.cleaned_data["deployments"]
                )
            except Refused as refusal:
                form.add_error(None, str(refusal))
                status = 409
            else:
                messages.success(request, f"{fields['name']} is saved.")
                return redirect("lti:platforms")
    # The form wrote what was typed on its own row.
    before = get_lti_platform(request.user, platform_id) if platform_id else None
    return render(request, "accounts/lti/platform.html", {"form": form, "platform": before}, status=status)


@login_required
@require_POST
@unlogged
def rotate_key(request: SignedInRequest) -> HttpResponse:
    """Sign with a new key from now on."""
    actions.rotate_lti_key(by=request.user)
    messages.success(request, "QuokkaQ signs with a new key now. The old one stays published for 30 days.")
    return redirect("lti:platforms")
