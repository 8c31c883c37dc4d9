"""The machine's work in the background, a file per concept."""

from ai_answers.tasks.answers import MAX_ATTEMPTS, generate_answer
from ai_answers.tasks.calls import settle_lost_calls
from ai_answers.tasks.conversations import REPLY_ATTEMPTS, reply, summarise
from ai_answers.tasks.materials import (
    IMPORT_ATTEMPTS,
    index_version,
    keep_materials_indexed,
    read_import,
    refresh_thread_source,
)
from ai_answers.tasks.rechecking import recheck_material, refit_calibrations, replace_hints, rewrite_answer

__all__ = [
    "IMPORT_ATTEMPTS",
    "MAX_ATTEMPTS",
    "REPLY_ATTEMPTS",
    "generate_answer",
    "index_version",
    "keep_materials_indexed",
    "read_import",
    "recheck_material",
    "refit_calibrations",
    "refresh_thread_source",
    "replace_hints",
    "reply",
    "rewrite_answer",
    "settle_lost_calls",
    "summarise",
]
