"""Keeping why jobs fail, for operators. The task engine itself keeps only that they did."""

import logging
import re
import traceback
from pathlib import Path
from typing import Any

from django.conf import settings
from procrastinate import JobContext
from procrastinate.middleware import AsyncCallNext
from procrastinate.worker import Worker

from quokkaq.lib.pii import scrub

log = logging.getLogger(__name__)

_KEEP = """
INSERT INTO quokkaq_jobfailure (job_id, error, text, place, failed_at)
VALUES (%(job_id)s, %(error)s, %(text)s, %(place)s, now())
ON CONFLICT (job_id) DO UPDATE
SET error = excluded.error, text = excluded.text, place = excluded.place, failed_at = excluded.failed_at
"""
_FORGET = "DELETE FROM quokkaq_jobfailure WHERE job_id = %(job_id)s"
# What stands in quotation marks may be what somebody wrote.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”|‘[^’]*’")
_CODE = re.compile(r"['\"“‘][A-Za-z0-9_.:/-]{1,40}['\"”’]")


async def keep_failures(call_next: AsyncCallNext, context: JobContext, worker: Worker) -> Any:
    """Write down why a job fails, and forget it when the job is done after all."""
    try:
        result = await call_next()
    except Exception as error:
        await _write(context, _KEEP, **explain(error))
        raise
    if context.job.attempts:
        await _write(context, _FORGET)
    return result


def explain(error: BaseException) -> dict[str, str]:
    """Return class, text and place of an error, without what people wrote and without addresses."""
    frames = traceback.extract_tb(error.__traceback__)
    root = f"{settings.BASE_DIR}/"
    ours = [frame for frame in frames if frame.filename.startswith(root) and "/.venv/" not in frame.filename]
    place = ""
    if frames:
        last = (ours or frames)[-1]
        file = last.filename.removeprefix(root) if ours else Path(last.filename).name
        place = f"{file}:{last.lineno}"
    said = _QUOTED.sub(lambda found: found[0] if _CODE.fullmatch(found[0]) else "[…]", scrub(str(error)))
    return {"error": type(error).__name__[:100], "text": " ".join(said.split())[:300], "place": place[-200:]}


async def _write(context: JobContext, statement: str, **values: str) -> None:
    """Do it over the worker's own connection. Whatever becomes of this, the job ends as it ended."""
    try:
        await context.app.connector.execute_query_async(statement, job_id=context.job.id, **values)
    except Exception:
        log.exception("why a job failed couldn't be kept")
