"""Signing in through the identity provider of an institution."""

from functools import wraps
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.saml import views as saml_views
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from onelogin.saml2.errors import OneLogin_Saml2_Error
from requests import RequestException

from accounts import reaching
from accounts.decorators import in_reach
from accounts.oidc import StrictOpenIDConnectAdapter
from accounts.saml import MetadataUnusable
from quokkaq.lib.logs import refused, unlogged
from quokkaq.lib.metrics.definitions import SIGN_INS


def _of_provider(request: HttpRequest, provider_id: str) -> UUID | None:
    return reaching.institution_of_provider(provider_id)


@never_cache
@in_reach(_of_provider)
@require_safe
@unlogged
def oidc_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Send somebody to their institution's provider. Of the address only where they go next is taken over."""
    asked = {name: request.GET[name] for name in ("next", "process") if name in request.GET}
    request.GET = QueryDict(urlencode(asked))
    return _with_adapter(OAuth2LoginView, request, provider_id)


@never_cache
@in_reach(_of_provider)
@require_safe
@unlogged
def oidc_callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Take what the provider says, check it, and sign the person in."""
    return _with_adapter(OAuth2CallbackView, request, provider_id)


def _with_adapter(view: Any, request: HttpRequest, provider_id: str) -> HttpResponseBase:
    try:
        response: HttpResponseBase = view.adapter_view(StrictOpenIDConnectAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist:
        raise Http404 from None
    except (OAuth2Error, RequestException) as problem:
        refused("provider.failed", kind="oidc", error=problem)
        SIGN_INS.inc("oidc", "failed")
        return error(request)
    return response


@require_safe
@unlogged
def cancelled(request: HttpRequest) -> HttpResponse:
    return render(request, "socialaccount/login_cancelled.html")


@require_safe
@unlogged
def error(request: HttpRequest) -> HttpResponse:
    return render(request, "socialaccount/authentication_error.html", status=401)


@require_safe
@unlogged
def sign_up_closed(request: HttpRequest) -> HttpResponse:
    """allauth's form for what a provider didn't say. We ask nothing there: what is missing is refused before."""
    return redirect("accounts:sign-in")


# SAML: allauth's views, each in the scope of its provider's institution


def _of_organization(request: HttpRequest, organization_slug: str) -> UUID | None:
    return reaching.institution_of_provider(organization_slug)


def _in_scope(view: Any) -> Any:
    """Open one of allauth's views; a service whose metadata can't be had or used is an answer, not a crash."""

    @in_reach(_of_organization)
    @wraps(view)
    def careful(request: HttpRequest, organization_slug: str) -> HttpResponseBase:
        try:
            response: HttpResponseBase = view(request, organization_slug=organization_slug)
        except (OneLogin_Saml2_Error, RequestException, MetadataUnusable) as problem:
            refused("provider.failed", kind="saml", error=problem)
            SIGN_INS.inc("saml", "failed")
            return error(request)
        return response

    return unlogged(careful)


saml_login = never_cache(_in_scope(saml_views.login))
_acs = never_cache(_in_scope(require_POST(saml_views.acs)))
saml_acs = csrf_exempt(_acs)  # rule: csrf-exempt (the request's id and the signature prove who sent it)
saml_finish = never_cache(_in_scope(saml_views.finish_acs))
saml_metadata = _in_scope(require_safe(saml_views.metadata))


@require_safe
@unlogged
def saml_logout(request: HttpRequest, organization_slug: str) -> HttpResponse:
    """Where a service sends people who sign out there. Nobody is signed out by a link: they are asked."""
    return render(request, "socialaccount/signed_out_there.html")
