"""Learning platforms. They are registered at /lti/platforms/; here operators look things up and put them right."""

from django.contrib import admin
from django.db.models import QuerySet

from accounts.admin.base import OperatedAdmin, ReadOnlyAdmin, Row, ScopedRelatedFilter
from accounts.models import LtiContext, LtiDeployment, LtiIdentity, LtiPlatform, LtiSync, User


class _OfInstitution(OperatedAdmin[Row]):
    """Rows without a course: staff see those of their institution."""

    course_paths = ()

    def has_add_permission(self, request: object) -> bool:
        return False

    def in_reach_of(self, user: User, rows: QuerySet[Row]) -> QuerySet[Row]:
        return rows if user.is_superuser else rows.filter(institution=user.institution_id)


@admin.register(LtiPlatform)
class LtiPlatformAdmin(_OfInstitution[LtiPlatform]):
    fields = (
        "institution", "name", "issuer", "client_id", "authorization_url", "token_url", "jwks_url", "is_active",
        "refused_deployment", "created_at",
    )  # fmt: skip
    readonly_fields = ("institution", "issuer", "client_id", "refused_deployment", "created_at")
    list_display = ("name", "issuer", "client_id", "institution", "is_active")
    list_filter = ("is_active", ("institution", ScopedRelatedFilter))
    list_select_related = ("institution",)
    search_fields = ("name", "issuer", "client_id")


@admin.register(LtiDeployment)
class LtiDeploymentAdmin(_OfInstitution[LtiDeployment]):
    fields = ("platform", "deployment_id")
    readonly_fields = ("platform",)
    list_display = ("deployment_id", "platform")
    list_filter = (("platform", ScopedRelatedFilter),)
    list_select_related = ("platform",)
    search_fields = ("deployment_id",)
    sought_through = ("platform",)


@admin.register(LtiIdentity)
class LtiIdentityAdmin(_OfInstitution[LtiIdentity]):
    """Who is who. An operator may delete a wrong one; nobody points one at somebody else."""

    fields = ("platform", "sub", "user", "created_at")
    readonly_fields = ("platform", "sub", "user", "created_at")
    list_display = ("user", "platform", "created_at")
    list_filter = (("platform", ScopedRelatedFilter),)
    list_select_related = ("user", "platform")
    search_fields = ("=sub",)
    sought_through = ("user",)

    def in_reach_of(self, user: User, rows: QuerySet[LtiIdentity]) -> QuerySet[LtiIdentity]:
        reach = self.admin_site.get_model_admin(User).in_reach_of(user, User.objects.get_queryset())  # type: ignore[attr-defined]
        return rows if user.is_superuser else rows.filter(user__in=reach.order_by().values("pk"))


@admin.register(LtiContext)
class LtiContextAdmin(OperatedAdmin[LtiContext]):
    fields = ("course", "deployment", "context_id", "title", "memberships_url", "linked_by", "created_at")
    readonly_fields = ("course", "deployment", "context_id", "memberships_url", "linked_by", "created_at")
    list_display = ("title", "context_id", "course", "deployment", "created_at")
    list_filter = (("course", ScopedRelatedFilter),)
    list_select_related = ("course", "deployment", "linked_by")
    search_fields = ("title", "context_id")
    sought_through = ("course",)

    def has_add_permission(self, request: object) -> bool:
        return False


@admin.register(LtiSync)
class LtiSyncAdmin(ReadOnlyAdmin[LtiSync]):
    fields = ("course", "context", "state", "fetched", "problem", "started_by", "created_at", "applied_at")
    list_display = ("created_at", "course", "state", "fetched", "problem", "started_by", "applied_at")
    list_filter = ("state", ("course", ScopedRelatedFilter))
    list_select_related = ("course", "context", "started_by")
    search_fields = ("problem",)
    sought_through = ("course",)
