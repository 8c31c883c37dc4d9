"""Routes of answers and materials, inside a course (`c/<slug>/`)."""

from django.urls import path

from ai_answers import views

app_name = "ai_answers"
urlpatterns = [
    path("<int:number>/answer/", views.answer, name="answer"),
    path("<int:number>/answer/endorse/", views.endorse_answer, name="endorse-answer"),
    path("<int:number>/answer/retry/", views.retry_answer, name="retry-answer"),
    path("answers/evaluation/", views.evaluation, name="evaluation"),
    path("materials/", views.materials, name="materials"),
    path("materials/add/", views.add_material, name="add-material"),
    path("materials/<uuid:material_id>/", views.material, name="material"),
    path("materials/<uuid:material_id>/add-version/", views.add_material, name="add-version"),
]
