"""Start-up of the composition root."""

from django.apps import AppConfig
from django.conf import settings


class QuokkaqConfig(AppConfig):
    """Starts the embedded PostgreSQL before anything can ask for it, and registers the system checks."""

    name = "quokkaq"

    def ready(self) -> None:
        from quokkaq import checks  # noqa: F401 (registers itself)

        if settings.EMBEDDED_POSTGRES is not None:
            settings.EMBEDDED_POSTGRES.ensure_running()
