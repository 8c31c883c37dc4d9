"""How people come into courses. The pages make and end these; here they are looked at."""

from django.contrib import admin

from accounts.admin.base import ReadOnlyAdmin, ScopedRelatedFilter
from accounts.models import Invitation, JoinCode, RosterImport


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin[Invitation]):
    """Invitations and what became of them. Nothing here opens one."""

    fields = (
        "course", "email", "role", "section", "sis_id", "invited_by", "created_at", "last_sent_at", "mail_problem",
        "expires_at", "accepted_at", "accepted_by", "revoked_at",
    )  # fmt: skip
    list_display = (
        "email",
        "course",
        "role",
        "created_at",
        "last_sent_at",
        "mail_problem",
        "accepted_at",
        "revoked_at",
    )
    list_filter = ("role", ("course", ScopedRelatedFilter))
    list_select_related = ("course", "invited_by", "accepted_by")
    search_fields = ("email",)
    date_hierarchy = "created_at"


@admin.register(JoinCode)
class JoinCodeAdmin(ReadOnlyAdmin[JoinCode]):
    fields = ("course", "section", "expires_at", "max_uses", "uses", "created_by", "created_at", "revoked_at")
    list_display = ("course", "section", "uses", "max_uses", "expires_at", "created_at", "revoked_at")
    list_filter = (("course", ScopedRelatedFilter),)
    search_fields = ("section",)
    sought_through = ("course",)
    list_select_related = ("course", "created_by")
    date_hierarchy = "created_at"


@admin.register(RosterImport)
class RosterImportAdmin(ReadOnlyAdmin[RosterImport]):
    """What was uploaded, when, and how many it changed; not what the files said."""

    fields = (
        "course", "state", "file_names", "drop_missing", "counts", "created_by", "created_at", "applied_by", "applied_at",
    )  # fmt: skip
    list_display = ("course", "state", "created_by", "created_at", "applied_at")
    list_filter = ("state", ("course", ScopedRelatedFilter))
    search_fields = ("file_names",)
    sought_through = ("course",)
    list_select_related = ("course", "created_by", "applied_by")
    date_hierarchy = "created_at"
