"""Everything that changes what the machine knows and says, a file per concept."""

from ai_answers.actions.answers import (
    GENERATE_TASK,
    fail_answer,
    generate_answer,
    remove_answer,
    render_answer,
    request_answer,
    retry_answer,
    return_answers,
    set_answer_endorsement,
    swap_answers,
)
from ai_answers.actions.imports import IMPORT_TASK, dismiss_import, fail_import, read_import, retry_import, start_import
from ai_answers.actions.indexing import INDEX_TASK, index_missing, index_version
from ai_answers.actions.materials import delete_material, import_material, restore_material
from ai_answers.actions.thread_sources import (
    REFRESH_TASK,
    note_thread_change,
    refresh_missing_sources,
    refresh_thread_source,
)

__all__ = [
    "GENERATE_TASK",
    "IMPORT_TASK",
    "INDEX_TASK",
    "REFRESH_TASK",
    "delete_material",
    "dismiss_import",
    "fail_answer",
    "fail_import",
    "generate_answer",
    "import_material",
    "index_missing",
    "index_version",
    "note_thread_change",
    "read_import",
    "refresh_missing_sources",
    "refresh_thread_source",
    "remove_answer",
    "render_answer",
    "request_answer",
    "restore_material",
    "retry_answer",
    "retry_import",
    "return_answers",
    "set_answer_endorsement",
    "start_import",
    "swap_answers",
]
