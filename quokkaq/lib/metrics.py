"""The guarded `/metrics` page for Prometheus."""

import hmac

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django_prometheus.exports import ExportToDjangoView


def metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics to a caller that sends `Authorization: Bearer <METRICS_TOKEN>`; 404 to everyone else.

    Without a token in the settings the page doesn't exist.
    """
    expected = f"Bearer {settings.METRICS_TOKEN}"
    given = request.headers.get("Authorization", "")
    if not settings.METRICS_TOKEN or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Http404
    response: HttpResponse = ExportToDjangoView(request)
    return response
