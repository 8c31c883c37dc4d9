"""How the people of an institution prove who they are."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin

from accounts.admin.base import OperatedAdmin, ScopedRelatedFilter, WholeRowForm
from accounts.models import IdentityProvider, InstitutionDomain


class _OfInstitution:
    """Rows that staff of an institution see, and operators change."""

    course_paths: ClassVar[tuple[str, ...]] = ()

    def in_reach_of(self, user: Any, rows: Any) -> Any:
        return rows if user.is_superuser else rows.filter(institution_id=user.institution_id)


@admin.register(InstitutionDomain)
class InstitutionDomainAdmin(_OfInstitution, OperatedAdmin[InstitutionDomain]):
    fixed_fields = ("institution",)
    fields = ("institution", "domain", "created_at")
    readonly_fields = ("created_at",)
    autocomplete_fields = ("institution",)
    list_display = ("domain", "institution", "created_at")
    list_filter = (("institution", ScopedRelatedFilter),)
    list_select_related = ("institution",)
    search_fields = ("domain",)


class IdentityProviderForm(WholeRowForm):
    """The secret is typed in and never shown again."""

    new_secret = forms.CharField(
        label="Secret",
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="OpenID Connect: the client secret. Kept sealed. Leave it empty to keep the one there is.",
    )

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("new_secret"):
            self.instance.secret = self.cleaned_data["new_secret"]
        return super().save(commit)


@admin.register(IdentityProvider)
class IdentityProviderAdmin(_OfInstitution, OperatedAdmin[IdentityProvider]):
    form = IdentityProviderForm
    fixed_fields = ("institution", "slug")
    fields = (
        "institution", "slug", "name", "protocol", "enabled", "server_url", "metadata", "client_id", "new_secret",
        "trusts_emails", "created_at",
    )  # fmt: skip
    readonly_fields = ("created_at",)
    autocomplete_fields = ("institution",)
    list_display = ("name", "institution", "protocol", "enabled", "trusts_emails")
    list_filter = ("protocol", "enabled", ("institution", ScopedRelatedFilter))
    list_select_related = ("institution",)
    search_fields = ("name", "slug")
