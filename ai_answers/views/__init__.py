"""The pages of the machine's answers, a file per concept."""

from ai_answers.views.answers import (
    answer,
    answer_feedback,
    answer_history,
    answer_panel,
    ask_person,
    edit_answer,
    endorse_answer,
    publish_answer,
    regenerate_answer,
    retry_answer,
    withdraw_answer,
)
from ai_answers.views.confidence import confidence, refit
from ai_answers.views.course_ai import course_ai
from ai_answers.views.materials import add_material, material, materials
from ai_answers.views.review import review

__all__ = [
    "add_material", "answer", "answer_feedback", "answer_history", "answer_panel", "ask_person", "confidence",
    "course_ai", "edit_answer", "endorse_answer", "material", "materials", "publish_answer", "refit",
    "regenerate_answer", "retry_answer", "review", "withdraw_answer",
]  # fmt: skip
