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
from ai_answers.views.conversations import (
    conversation,
    conversation_as_thread,
    conversations,
    delete_conversation,
    export_conversation,
    message,
    message_stream,
    overview,
    question_as_thread,
    retry_message,
    stop_message,
)
from ai_answers.views.course_ai import course_ai
from ai_answers.views.disclosures import change_consent, consent_context, disclosures
from ai_answers.views.evaluation import evaluation
from ai_answers.views.materials import (
    add_material,
    delete_material,
    dismiss_import,
    imports,
    material,
    material_file,
    material_versions,
    materials,
    restore_material,
    retry_import,
)
from ai_answers.views.preview import accept_preview, ask_panel, preview, preview_panel
from ai_answers.views.review import review
from ai_answers.views.spending import spending, spending_csv
from ai_answers.views.summaries import summary, summary_panel

__all__ = [
    "accept_preview",
    "add_material",
    "answer",
    "answer_feedback",
    "answer_history",
    "answer_panel",
    "ask_panel",
    "ask_person",
    "change_consent",
    "confidence",
    "consent_context",
    "conversation",
    "conversation_as_thread",
    "conversations",
    "course_ai",
    "delete_conversation",
    "delete_material",
    "disclosures",
    "dismiss_import",
    "edit_answer",
    "endorse_answer",
    "evaluation",
    "export_conversation",
    "imports",
    "material",
    "material_file",
    "material_versions",
    "materials",
    "message",
    "message_stream",
    "overview",
    "preview",
    "preview_panel",
    "publish_answer",
    "question_as_thread",
    "refit",
    "regenerate_answer",
    "restore_material",
    "retry_answer",
    "retry_import",
    "retry_message",
    "review",
    "spending",
    "spending_csv",
    "stop_message",
    "summary",
    "summary_panel",
    "withdraw_answer",
]
