"""Who people are and which courses they belong to."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People and courses"

    def ready(self) -> None:
        from accounts import receivers  # noqa: F401 (connects them)
        from accounts.own_data import register_own_data

        register_own_data()


class AdminConfig(DjangoAdminConfig):
    """Django admin, behind our own sign-in page."""

    default_site = "accounts.admin_site.QuokkaqAdminSite"
