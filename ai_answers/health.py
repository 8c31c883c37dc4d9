"""Whether models outside this server answer, by how the last calls ended: nothing is called, or paid for, to find out."""

from datetime import datetime, timedelta

from django.utils import timezone
from health_check.exceptions import ServiceUnavailable, ServiceWarning

from ai_answers.actions.budget import is_failure
from ai_answers.engines.configured import connections
from ai_answers.engines.limits import BREAKER_FAILURES, BREAKER_MEMORY_SECONDS
from quokkaq.lib.health import Check
from quokkaq.lib.health.asking import ask

_LAST_CALLS = "SELECT outcome, reason FROM ai_answers_last_calls($1, $2, $3::timestamptz, $4::integer)"


class EngineCheck(Check):
    """The last calls to each configured provider, of all institutions: the memory of the breaker (`budget.is_resting`).

    A provider fails when so many calls in a row failed as open the breaker. It is well again with the first that
    succeeds, or when all of them are forgotten.
    """

    name = "engine"
    fresh_seconds = 0.8

    @classmethod
    def is_configured(cls) -> bool:
        return bool(connections())

    def run(self) -> None:
        since = timezone.now() - timedelta(seconds=BREAKER_MEMORY_SECONDS)
        engines = connections()
        failing = [name for name, provider in engines.items() if _fails(name, provider.model, since)]
        self.detail["failing"] = failing
        if len(failing) == len(engines):
            raise ServiceUnavailable("no provider answers")
        if failing:
            raise ServiceWarning("a provider doesn't answer")


def _fails(engine: str, model: str, since: datetime) -> bool:
    calls = ask(_LAST_CALLS, engine, model, since.isoformat(), str(BREAKER_FAILURES), seconds=0.4)
    return len(calls) == BREAKER_FAILURES and all(is_failure(outcome or "", reason or "") for outcome, reason in calls)
