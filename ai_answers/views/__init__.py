"""The pages of the machine's answers, a file per concept."""

from ai_answers.views.answers import answer, answer_panel, endorse_answer, retry_answer
from ai_answers.views.disclosures import change_consent, consent_context, disclosures
from ai_answers.views.materials import add_material, material, materials
from ai_answers.views.spending import spending, spending_csv

__all__ = [
    "add_material",
    "answer",
    "answer_panel",
    "change_consent",
    "consent_context",
    "disclosures",
    "endorse_answer",
    "material",
    "materials",
    "retry_answer",
    "spending",
    "spending_csv",
]
