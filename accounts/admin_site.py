"""Django admin behind our own sign-in page."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path, reverse

from accounts.models import User
from accounts.signing_in import owes_second_factor
from quokkaq.lib.http import safe_target

_operators_pages: list[tuple[str, Callable[..., HttpResponse], str]] = []


def register_operators_page(route: str, view: Callable[..., HttpResponse], name: str) -> None:
    """Give operators a page in admin, below its root."""
    _operators_pages.append((route, view, name))


def for_operators(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let nobody else of the staff in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not (isinstance(request.user, User) and request.user.is_superuser):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded


class QuokkaqAdminSite(AdminSite):
    """Opens to staff whose session has proved what their rights ask for."""

    site_header = site_title = "QuokkaQ administration"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        own = [path(route, self.admin_view(for_operators(view)), name=name) for route, view, name in _operators_pages]
        return [*own, *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return super().has_permission(request) and isinstance(user, User) and not owes_second_factor(request, user)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Bring who isn't signed in to our page; tell who is that they may not come in."""
        if request.user.is_authenticated:
            if self.has_permission(request):
                return redirect("admin:index")
            raise PermissionDenied
        target = safe_target(request, request.GET.get("next")) or reverse("admin:index")
        return redirect(f"{reverse('accounts:sign-in')}?{urlencode({'next': target}, safe='/')}")

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("account_change_password")
