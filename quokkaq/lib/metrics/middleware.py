"""Requests by route, as cheaply as can be: of what django-prometheus counts, two counters and a histogram each."""

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django_prometheus.middleware import Metrics, PrometheusAfterMiddleware
from django_prometheus.utils import Time, TimeSince

from quokkaq.lib.metrics.definitions import EXCEPTIONS, REQUEST_SECONDS, REQUESTS, RESPONSES


class RequestMetrics(Metrics):  # type: ignore[misc]  # django-prometheus has no types
    """Those of the package's metrics that the others can be made of, with our bounds on their labels."""

    def register(self) -> None:
        self.requests_latency_by_view_method = REQUEST_SECONDS
        self.requests_by_view_transport_method = REQUESTS
        self.responses_by_status_view_method = RESPONSES
        self.exceptions_by_view = EXCEPTIONS


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # django-prometheus has no types
    """Count each request, how it was answered, and how long that took; place it where nearly all is inside it."""

    metrics_cls = RequestMetrics

    def process_request(self, request: HttpRequest) -> None:
        request.prometheus_after_middleware_event = Time()  # type: ignore[attr-defined]  # where the package keeps it

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        """Requests are counted when they are answered."""

    def process_template_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        view, method = self._get_view_name(request), request.method or ""
        REQUESTS.inc(view, self._transport(request), method)
        RESPONSES.inc(str(response.status_code), view, method)
        REQUEST_SECONDS.observe(TimeSince(request.prometheus_after_middleware_event), view, method)  # type: ignore[attr-defined]  # set above
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        EXCEPTIONS.inc(self._get_view_name(request))
