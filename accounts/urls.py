"""Routes outside a course."""

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("", views.home, name="home"),
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("courses/", views.courses, name="courses"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
    path("join/", views.join, name="join"),
    path("join/<str:code>/", views.join_course, name="join-course"),
    path("me/", views.profile, name="profile"),
    path("me/avatar/", views.change_avatar, name="change-avatar"),
    path("me/feeds/", views.change_feeds, name="change-feeds"),
    path("me/data/", views.data, name="data"),
    path("me/data/progress/", views.data_progress, name="data-progress"),
    path("me/data/download/<str:ticket>/", views.download_data, name="download-data"),
    path("me/erase/", views.erase, name="erase"),
    path("me/erase/keep/", views.keep_account, name="keep-account"),
    path("people/<uuid:person_id>/avatar/", views.avatar, name="avatar"),
    path("operators/enter/<uuid:institution_id>/", views.enter_institution, name="enter-institution"),
    path("operators/leave/", views.leave_institution, name="leave-institution"),
    path("uploads/", views.start_upload, name="start-upload"),
    path("uploads/<uuid:upload_id>/", views.upload, name="upload"),
    path("uploads/<uuid:upload_id>/content/", views.upload_content, name="upload-content"),
    path("uploads/<uuid:upload_id>/confirm/", views.confirm_upload, name="upload-confirm"),
    path("uploads/<uuid:upload_id>/discard/", views.discard_upload, name="upload-discard"),
    path("files/<uuid:upload_id>/", views.file, name="file"),
]
