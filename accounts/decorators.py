"""Who is let in to a view."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import SimpleTemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.forms import SignInForm
from accounts.models import User
from quokkaq.lib import request_id as work
from quokkaq.lib import tenancy

View = Callable[..., HttpResponseBase]
# Fields that hold what somebody wrote.
WRITTEN = ("title", "body", "text")


def written_in(request: HttpRequest) -> list[str]:
    """Return the texts a posted form holds, to give them back when the form can't be taken."""
    texts = [request.POST.get(name, "") for name in WRITTEN] if request.method == "POST" else []
    return [text for text in texts if isinstance(text, str) and text.strip()]


def in_reach(find: Callable[..., UUID | None]) -> Callable[[View], View]:
    """Open a page to who isn't signed in, in the scope of one institution, which `find` tells from the request.

    `find` takes what the view takes. Who is signed in stays in their own institution. The page is written inside the scope, too.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def scoped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if isinstance(request.user, User):
                scope = tenancy.scope(request.user.institution_id, request.user.pk)
            else:
                found = find(request, *args, **kwargs)
                work.note(institution=found)
                scope = tenancy.scope(found)
            with scope:
                response = view(request, *args, **kwargs)
                return response.render() if isinstance(response, SimpleTemplateResponse) else response

        return scoped

    return decorate


def login_required(view: View) -> View:
    """Ask people to sign in first, and bring them back to the page they were on.

    A form that was sent when the session had ended is not lost: the sign-in page shows what was written.
    """

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        target = request.get_full_path() if request.method in ("GET", "HEAD") else _page_before(request)
        texts = written_in(request)
        if texts:
            context = {"form": SignInForm(request, initial={"next": target}), "kept": texts, "target": target}
            return render(request, "accounts/sign_in.html", context, status=403)
        query = urlencode({"next": target}, safe="/")
        return HttpResponseRedirect(f"{reverse('accounts:sign-in')}?{query}")

    return guarded


def _page_before(request: HttpRequest) -> str:
    """Return the page a form was sent from: the address it was sent to may take no GET."""
    before = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(before, {request.get_host()}, require_https=request.is_secure()):
        return reverse("accounts:courses")
    parts = urlsplit(before)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
