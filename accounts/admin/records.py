"""What is noted of what happens: the audit log, files on their way, and what people ask for about themselves."""

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin.base import ReadOnlyAdmin, Row, ScopedRelatedFilter
from accounts.models import AuditEvent, Consent, DataExport, Erasure, Upload, User


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin[AuditEvent]):
    """The log. Nobody changes it, operators neither."""

    fields = (
        "created_at",
        "verb",
        "actor",
        "course",
        "target_type",
        "target_id",
        "data",
        "network",
        "agent",
        "request_id",
    )
    list_display = ("created_at", "verb", "actor", "course", "target_type", "target_id", "network", "request_id")
    list_filter = ("verb", "target_type", ("course", ScopedRelatedFilter))
    list_select_related = ("actor", "course")
    search_fields = ("verb", "=request_id", "=target_id")
    sought_through = ("actor",)
    date_hierarchy = "created_at"

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False


class PersonalAdmin(ReadOnlyAdmin[Row]):
    """What people asked for about themselves: operators look after it, and nobody else sees it."""

    course_paths = ()
    list_select_related: ClassVar[tuple[str, ...]] = ("user",)

    def in_reach_of(self, user: User, rows: QuerySet[Row]) -> QuerySet[Row]:
        return rows if user.is_superuser else rows.none()

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False


@admin.register(DataExport)
class DataExportAdmin(PersonalAdmin[DataExport]):
    """Copies of people's data: how far they are, never what is in them."""

    fields = ("user", "state", "done", "total", "error_code", "created_at", "finished_at", "expires_at")
    list_display = ("created_at", "user", "state", "done", "total", "error_code", "expires_at")
    list_filter = ("state",)
    sought_through = ("user",)
    date_hierarchy = "created_at"


@admin.register(Erasure)
class ErasureAdmin(PersonalAdmin[Erasure]):
    """People who are to be erased, and who asked for it."""

    fields = ("user", "requested_by", "state", "obstacle", "requested_at", "due_at", "finished_at")
    list_display = ("requested_at", "user", "requested_by", "state", "due_at", "obstacle", "finished_at")
    list_filter = ("state",)
    list_select_related = ("user", "requested_by")
    sought_through = ("user",)
    date_hierarchy = "requested_at"


@admin.register(Consent)
class ConsentAdmin(PersonalAdmin[Consent]):
    """Who agreed to what, row after row."""

    fields = ("user", "kind", "version", "is_given", "created_at")
    list_display = ("created_at", "user", "kind", "version", "is_given")
    list_filter = ("kind", "is_given", "version")
    sought_through = ("user",)
    date_hierarchy = "created_at"


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin[Upload]):
    """Files on their way and where they stand. Whose an attachment is isn't shown: its author may hide."""

    fields = (
        "created_at", "purpose", "state", "state_at", "rejection", "course", "content_type", "size", "sha256", "width",
        "height", "attached_at",
    )  # fmt: skip
    list_display = ("created_at", "purpose", "state", "rejection", "course", "content_type", "size", "attached_at")
    list_filter = ("state", "purpose", ("course", ScopedRelatedFilter))
    list_select_related = ("course",)
    search_fields = ("=sha256",)
    date_hierarchy = "created_at"
