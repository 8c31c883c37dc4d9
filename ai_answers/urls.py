"""Routes of answers and materials, inside a course (`c/<slug>/`)."""

from django.urls import path

from ai_answers import views

app_name = "ai_answers"
urlpatterns = [
    path("<int:number>/answer/", views.answer, name="answer"),
    path("<int:number>/answer/endorse/", views.endorse_answer, name="endorse-answer"),
    path("<int:number>/answer/retry/", views.retry_answer, name="retry-answer"),
    path("<int:number>/answer/publish/", views.publish_answer, name="publish-answer"),
    path("<int:number>/answer/edit/", views.edit_answer, name="edit-answer"),
    path("<int:number>/answer/withdraw/", views.withdraw_answer, name="withdraw-answer"),
    path("<int:number>/answer/again/", views.regenerate_answer, name="regenerate-answer"),
    path("<int:number>/answer/history/", views.answer_history, name="answer-history"),
    path("<int:number>/answer/feedback/", views.answer_feedback, name="answer-feedback"),
    path("<int:number>/answer/person/", views.ask_person, name="ask-person"),
    path("answers/review/", views.review, name="review"),
    path("answers/settings/", views.course_ai, name="course-ai"),
    path("answers/confidence/", views.confidence, name="confidence"),
    path("answers/confidence/fit/", views.refit, name="refit"),
    path("<int:number>/summary/", views.summary, name="summary"),
    path("ai/", views.conversations, name="conversations"),
    path("ai/preview/", views.preview, name="preview"),
    path("ai/preview/<uuid:preview_id>/", views.preview_panel, name="preview-panel"),
    path("ai/preview/<uuid:preview_id>/accept/", views.accept_preview, name="accept-preview"),
    path("ai/messages/<uuid:message_id>/", views.message, name="message"),
    path("ai/messages/<uuid:message_id>/stream/", views.message_stream, name="message-stream"),
    path("ai/messages/<uuid:message_id>/stop/", views.stop_message, name="stop-message"),
    path("ai/messages/<uuid:message_id>/retry/", views.retry_message, name="retry-message"),
    path("ai/<uuid:conversation_id>/", views.conversation, name="conversation"),
    path("ai/<uuid:conversation_id>/delete/", views.delete_conversation, name="delete-conversation"),
    path("ai/<uuid:conversation_id>/export.<slug:kind>", views.export_conversation, name="export-conversation"),
    path("ai-spending/", views.spending, name="spending"),
    path("ai-spending/csv/", views.spending_csv, name="spending-csv"),
    path("answers/evaluation/", views.evaluation, name="evaluation"),
    path("materials/", views.materials, name="materials"),
    path("materials/add/", views.add_material, name="add-material"),
    path("materials/imports/", views.imports, name="imports"),
    path("materials/imports/<uuid:import_id>/retry/", views.retry_import, name="retry-import"),
    path("materials/imports/<uuid:import_id>/dismiss/", views.dismiss_import, name="dismiss-import"),
    path("materials/<uuid:material_id>/", views.material, name="material"),
    path("materials/<uuid:material_id>/add-version/", views.add_material, name="add-version"),
    path("materials/<uuid:material_id>/file/", views.material_file, name="material-file"),
    path("materials/<uuid:material_id>/versions/", views.material_versions, name="material-versions"),
    path("materials/<uuid:material_id>/delete/", views.delete_material, name="delete-material"),
    path("materials/<uuid:material_id>/restore/", views.restore_material, name="restore-material"),
]
