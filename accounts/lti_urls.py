"""Routes of LTI 1.3 (`lti/`)."""

from django.urls import path

from accounts.views import lti

app_name = "lti"
urlpatterns = [
    path("", lti.platforms, name="root"),
    path("platforms/", lti.platforms, name="platforms"),
    path("platforms/add/", lti.platform, name="add-platform"),
    path("platforms/<uuid:platform_id>/", lti.platform, name="platform"),
    path("platforms/key/", lti.rotate_key, name="rotate-key"),
    path("jwks/<slug:institution>/", lti.jwks, name="jwks"),
    path("config/<slug:institution>.json", lti.config, name="config"),
    path("login/", lti.login, name="login"),
    path("launch/", lti.launch, name="launch"),
    path("launches/<uuid:launch_id>/connect/", lti.connect, name="connect"),
    path("launches/<uuid:launch_id>/course/", lti.link_course, name="course"),
    path("launches/<uuid:launch_id>/deep-link/", lti.deep_link, name="deep-link"),
]
