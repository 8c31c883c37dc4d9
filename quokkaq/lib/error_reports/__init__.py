"""Reports of errors to a service that speaks Sentry's protocol; off unless its address (DSN) is set.

While they are off, nothing of the SDK is imported.
"""

from collections.abc import Awaitable, Callable
from typing import Any

_sentry: Any = None


def switch_on() -> None:
    """Report what goes wrong in this process from now on."""
    global _sentry  # noqa: PLW0603 (a module is imported, or not)
    from quokkaq.lib.error_reports import sentry

    if _sentry is None:
        sentry.begin()
    _sentry = sentry


async def around_task(call_next: Callable[[], Awaitable[Any]], context: Any, worker: Any) -> Any:
    """Run a job and report what ends it; a middleware of the task worker."""
    try:
        return await call_next()
    except Exception as error:
        if _sentry is not None:
            _sentry.report_task(error, context.job)
        raise
