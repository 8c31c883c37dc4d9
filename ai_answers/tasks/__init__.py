"""The machine's work in the background, a file per concept."""

from ai_answers.tasks.answers import MAX_ATTEMPTS, generate_answer
from ai_answers.tasks.materials import (
    IMPORT_ATTEMPTS,
    index_version,
    keep_materials_indexed,
    read_import,
    refresh_thread_source,
)

__all__ = [
    "IMPORT_ATTEMPTS",
    "MAX_ATTEMPTS",
    "generate_answer",
    "index_version",
    "keep_materials_indexed",
    "read_import",
    "refresh_thread_source",
]
