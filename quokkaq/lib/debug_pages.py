"""What Django's report of an exception (the yellow page in development) shows: no secrets, also there."""

import re
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from quokkaq.lib.logs import is_unlogged


class ReportFilter(SafeExceptionReporterFilter):
    """Cleanses in development, too. Of a view that isn't logged no variable of any function is shown."""

    hidden_settings = re.compile(
        "API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|SESSION|CSRF|DSN|DATABASE|REDIS_URL|EMAIL_URL|QUERY_STRING|_URI",
        flags=re.IGNORECASE,
    )

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> Any:
        if _hidden(request):
            return [(name, self.cleansed_substitute) for name in tb_frame.f_locals]
        return super().get_traceback_frame_variables(request, tb_frame)


class Reporter(ExceptionReporter):
    """Of a view that isn't logged the address, what was sent and the exception's words are left out."""

    def get_traceback_data(self) -> dict[str, Any]:
        data: dict[str, Any] = super().get_traceback_data()
        if _hidden(self.request):
            hidden = self.filter.cleansed_substitute
            data |= {"request": None, "exception_value": hidden, "exception_notes": "", "unicode_hint": ""}
            for frame in data["frames"]:
                frame["exc_cause"] = hidden if frame["exc_cause"] else None
        return data


def _hidden(request: HttpRequest | None) -> bool:
    return request is not None and is_unlogged(request.resolver_match)
