"""Routes outside a course."""

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("courses/", views.courses, name="courses"),
    path("me/", views.profile, name="profile"),
    path("me/avatar/", views.change_avatar, name="change-avatar"),
    path("me/feeds/", views.change_feeds, name="change-feeds"),
    path("people/<uuid:person_id>/avatar/", views.avatar, name="avatar"),
]
