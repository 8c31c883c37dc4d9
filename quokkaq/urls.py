"""The address book: what lies where. Each route's access policy is stated in tests/quokkaq/test_route_policies.py."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from forum.views.feeds import course_feed
from quokkaq.lib.health.views import PROBES
from quokkaq.lib.metrics.page import metrics

urlpatterns = [
    # First what is opened most: whatever stands above is tried before it.
    path("c/<slug:slug>/", include("forum.urls")),
    path("c/<slug:slug>/", include("ai_answers.urls")),
    *(path(route.removeprefix("/"), view, name=name) for route, (name, view) in PROBES.items()),
    path("metrics", metrics, name="metrics"),
    path(settings.ADMIN_PATH, admin.site.urls),
    path("feeds/<str:key>/<slug:slug>/", course_feed, name="feed"),
    path("lti/", include("accounts.lti_urls")),
    path("", include("accounts.urls")),
    path("", include("accounts.security_urls")),
    path("", include("forum.inbox_urls")),
    path("", include("ai_answers.own_urls")),
]

handler400 = "quokkaq.views.bad_request"
handler403 = "quokkaq.views.forbidden"
handler404 = "quokkaq.views.not_found"
handler500 = "quokkaq.views.server_error"
