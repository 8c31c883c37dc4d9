"""The pages of the machine's answers, a file per concept."""

from ai_answers.views.answers import answer, answer_panel, endorse_answer, retry_answer
from ai_answers.views.evaluation import evaluation
from ai_answers.views.materials import add_material, material, materials

__all__ = [
    "add_material",
    "answer",
    "answer_panel",
    "endorse_answer",
    "evaluation",
    "material",
    "materials",
    "retry_answer",
]
