"""The ledger's upkeep."""

from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.jobs import for_every_institution, in_queue


@app.periodic(cron="* * * * *")
@app.task(name="ai_answers.settle_lost_calls", **in_queue("upkeep"), queueing_lock="settle_lost_calls")
@for_every_institution
def settle_lost_calls(timestamp: int) -> None:
    """Settle the calls of processes that died: what was set aside for them counts as spent."""
    actions.settle_lost_calls()
