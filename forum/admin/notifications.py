"""Mails and what came of them. What people are told and what they follow is theirs: it would say who hides."""

from django.contrib import admin
from django.db.models import QuerySet

from accounts.admin import ReadOnlyAdmin
from accounts.models import User
from forum.models import InboundMail, Mail


class OperatorsOnlyAdmin(ReadOnlyAdmin[Mail]):
    """Mails say to whom they went and about what: together with a pseudonym that is a name."""

    course_paths = ()

    def in_reach_of(self, user: User, rows: QuerySet[Mail]) -> QuerySet[Mail]:
        return rows if user.is_superuser else rows.none()


@admin.register(Mail)
class MailAdmin(OperatorsOnlyAdmin):
    """Whether mails go out. Without their texts and receivers."""

    fields = ("message_id", "state", "attempts", "error_code", "created_at", "sent_at")
    list_display = ("message_id", "state", "attempts", "error_code", "created_at", "sent_at")
    list_filter = ("state", ("created_at", admin.DateFieldListFilter))
    search_fields = ("=message_id",)
    date_hierarchy = "created_at"


@admin.register(InboundMail)
class InboundMailAdmin(ReadOnlyAdmin[InboundMail]):
    """Whether replies by mail come in. Without who wrote."""

    course_paths = ()
    fields = ("outcome", "reason", "created_at")
    list_display = ("created_at", "outcome", "reason")
    list_filter = ("outcome", ("created_at", admin.DateFieldListFilter))
    search_fields = ("reason",)
    date_hierarchy = "created_at"

    def in_reach_of(self, user: User, rows: QuerySet[InboundMail]) -> QuerySet[InboundMail]:
        return rows if user.is_superuser else rows.none()
