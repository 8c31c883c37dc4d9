"""How apps count: once what they did is committed, so that what is rolled back was never counted."""

from django.db import transaction

from quokkaq.lib.metrics.definitions import CounterSeries


def count(counter: CounterSeries, *labels: str, by: float = 1) -> None:
    """Count when the transaction commits that this is called in; at once outside of one."""
    transaction.on_commit(lambda: counter.inc(*labels, by=by), robust=True)
