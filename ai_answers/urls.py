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
    path("materials/", views.materials, name="materials"),
    path("materials/add/", views.add_material, name="add-material"),
    path("materials/<uuid:material_id>/", views.material, name="material"),
    path("materials/<uuid:material_id>/add-version/", views.add_material, name="add-version"),
]
