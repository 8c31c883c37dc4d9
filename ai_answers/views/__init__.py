"""The pages of the machine's answers, a file per concept."""

from ai_answers.views.answers import answer, answer_panel, endorse_answer, retry_answer
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
from ai_answers.views.materials import add_material, material, materials
from ai_answers.views.preview import accept_preview, ask_panel, preview, preview_panel
from ai_answers.views.summaries import summary, summary_panel

__all__ = [
    "accept_preview",
    "add_material",
    "answer",
    "answer_panel",
    "ask_panel",
    "conversation",
    "conversation_as_thread",
    "conversations",
    "delete_conversation",
    "endorse_answer",
    "export_conversation",
    "material",
    "materials",
    "message",
    "message_stream",
    "overview",
    "preview",
    "preview_panel",
    "question_as_thread",
    "retry_answer",
    "retry_message",
    "stop_message",
    "summary",
    "summary_panel",
]
