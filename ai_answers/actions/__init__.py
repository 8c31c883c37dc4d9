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
from ai_answers.actions.budget import BudgetExceeded, settle_lost_calls
from ai_answers.actions.calls import consult
from ai_answers.actions.consent import set_consent
from ai_answers.actions.materials import import_material

__all__ = [
    "GENERATE_TASK",
    "BudgetExceeded",
    "consult",
    "fail_answer",
    "generate_answer",
    "import_material",
    "remove_answer",
    "render_answer",
    "request_answer",
    "retry_answer",
    "return_answers",
    "set_answer_endorsement",
    "set_consent",
    "settle_lost_calls",
    "swap_answers",
]
