"""Routes of answers and materials, inside a course (`c/<slug>/`)."""

from django.urls import path

from ai_answers import views

app_name = "ai_answers"
urlpatterns = [
    path("<int:number>/answer/", views.answer, name="answer"),
    path("<int:number>/answer/endorse/", views.endorse_answer, name="endorse-answer"),
    path("<int:number>/answer/retry/", views.retry_answer, name="retry-answer"),
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
