"""What the AI sees to by itself: sources that change, embargoes that end, judgements to learn from."""

import uuid

from procrastinate import RetryStrategy
from procrastinate.contrib.django import app

from ai_answers import actions
from quokkaq.lib.jobs import for_every_institution, in_queue, of_institution


@app.task(name=actions.RECHECK_TASK, queue="rechecking", retry=RetryStrategy(max_attempts=8, exponential_wait=5))
@of_institution
def recheck_material(material_id: str) -> None:
    """Check the answers that quote a material; withdraw those whose quotation is gone."""
    actions.recheck_material(uuid.UUID(material_id))


@app.task(name=actions.REWRITE_TASK, queue="rechecking", retry=RetryStrategy(max_attempts=5, exponential_wait=3))
@of_institution
def rewrite_answer(answer_id: str) -> None:
    """Have an answer that lost its source written anew."""
    actions.rewrite_answer(uuid.UUID(answer_id))


@app.periodic(cron="*/10 * * * *")
@app.task(name="ai_answers.replace_hints", **in_queue("upkeep"), queueing_lock="replace_hints")
@for_every_institution
def replace_hints(timestamp: int) -> None:
    """Have hints written as answers once the embargo is over."""
    actions.replace_hints()


@app.periodic(cron="47 2 * * *")
@app.task(name="ai_answers.refit_calibrations", **in_queue("sweeping"), queueing_lock="refit_calibrations")
@for_every_institution
def refit_calibrations(timestamp: int) -> None:
    """Learn from what people judged, every night."""
    actions.refit_all()
