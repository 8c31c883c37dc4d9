"""Everything that changes what the machine knows and says, a file per concept."""

from ai_answers.actions.answers import (
    GENERATE_TASK,
    cited_numbers,
    fail_answer,
    generate_answer,
    regenerate_answer,
    remove_answer,
    render_answer,
    request_answer,
    retry_answer,
    return_answers,
    swap_answers,
)
from ai_answers.actions.confidence import MIN_EACH, MIN_JUDGED, calibration_for, refit_all, refit_course
from ai_answers.actions.feedback import ask_person, give_feedback
from ai_answers.actions.materials import import_material
from ai_answers.actions.policy import set_course_ai
from ai_answers.actions.rechecking import (
    RECHECK_TASK,
    REWRITE_TASK,
    enqueue_recheck,
    recheck_material,
    replace_hints,
    rewrite_answer,
)
from ai_answers.actions.reviewing import (
    MAX_BULK,
    REVIEW_ACTS,
    check_markers,
    do_to_answers,
    edit_answer,
    edit_token,
    publish_answer,
    set_answer_endorsement,
    withdraw_answer,
    withdrawing,
)

__all__ = [
    "GENERATE_TASK",
    "MAX_BULK",
    "MIN_EACH",
    "MIN_JUDGED",
    "RECHECK_TASK",
    "REVIEW_ACTS",
    "REWRITE_TASK",
    "ask_person",
    "calibration_for",
    "check_markers",
    "cited_numbers",
    "do_to_answers",
    "edit_answer",
    "edit_token",
    "enqueue_recheck",
    "fail_answer",
    "generate_answer",
    "give_feedback",
    "import_material",
    "publish_answer",
    "recheck_material",
    "refit_all",
    "refit_course",
    "regenerate_answer",
    "remove_answer",
    "render_answer",
    "replace_hints",
    "request_answer",
    "retry_answer",
    "return_answers",
    "rewrite_answer",
    "set_answer_endorsement",
    "set_course_ai",
    "swap_answers",
    "withdraw_answer",
    "withdrawing",
]
