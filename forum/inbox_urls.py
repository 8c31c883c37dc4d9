"""Routes of what people are told, outside any course."""

from django.urls import path

from forum.views import inbox, mailing

app_name = "inbox"
urlpatterns = [
    path("inbox/", inbox.inbox, name="list"),
    path("inbox/count/", inbox.count, name="count"),
    path("inbox/read/", inbox.read_all, name="read-all"),
    path("inbox/<uuid:notification_id>/", inbox.open_notification, name="open"),
    path("me/notifications/", inbox.preferences, name="preferences"),
    path("unsubscribe/<str:token>/", mailing.unsubscribe, name="unsubscribe"),
    path("mail/", mailing.mails, name="mails"),
    path("mail/inbound/", mailing.inbound, name="inbound"),
    path("mail/<uuid:mail_id>/", mailing.mail, name="mail"),
    path("mail/<uuid:mail_id>/html/", mailing.mail_html, name="mail-html"),
]
