"""The address book: what lies where. Each route's access policy is stated in tests/quokkaq/test_route_policies.py."""

from django.contrib import admin
from django.urls import include, path

from forum.views.feeds import course_feed
from quokkaq.lib.health import ReadinessView, live, ping
from quokkaq.lib.metrics import metrics

urlpatterns = [
    path("health", live, name="health"),
    path("api/v1/ready", ReadinessView.as_view(), name="ready"),
    path("api/v1/ping", ping, name="ping"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("feeds/<str:key>/<slug:slug>/", course_feed, name="feed"),
    path("", include("accounts.urls")),
    path("", include("forum.inbox_urls")),
    path("", include("ai_answers.own_urls")),
    path("c/<slug:slug>/", include("ai_answers.urls")),
    path("c/<slug:slug>/", include("forum.urls")),
]

handler403 = "quokkaq.views.forbidden"
handler404 = "quokkaq.views.not_found"
handler500 = "quokkaq.views.server_error"
