"""Start-up of the composition root."""

import logging

from django.apps import AppConfig
from django.conf import settings


class QuokkaqConfig(AppConfig):
    """Starts the embedded PostgreSQL before anything can ask for it, and switches on what watches over the rest."""

    name = "quokkaq"

    def ready(self) -> None:
        from quokkaq import checks, measuring, operations  # noqa: F401 (register themselves)
        from quokkaq.administration import register_pages
        from quokkaq.lib import error_reports, reading_again, tracing
        from quokkaq.lib.database import slow, watching
        from quokkaq.lib.health.checks import register_checks
        from quokkaq.lib.metrics.database import observe

        watching.observers += [observe, slow.tell_of_slow, reading_again.note]
        register_checks()
        register_pages()
        if settings.TRACES_ENDPOINT:
            tracing.switch_on()
        if settings.SENTRY_DSN:
            error_reports.switch_on()
        if not settings.TESTING:
            logging.captureWarnings(True)

        if settings.EMBEDDED_POSTGRES is not None:
            settings.EMBEDDED_POSTGRES.ensure_running()
