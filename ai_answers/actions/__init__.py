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
from ai_answers.actions.evaluating import keep_as_case
from ai_answers.actions.materials import import_material

__all__ = [
    "GENERATE_TASK",
    "fail_answer",
    "generate_answer",
    "import_material",
    "keep_as_case",
    "remove_answer",
    "render_answer",
    "request_answer",
    "retry_answer",
    "return_answers",
    "set_answer_endorsement",
    "swap_answers",
]
