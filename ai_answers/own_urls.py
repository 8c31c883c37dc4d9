"""Routes of what is one's own with the machine, over all courses."""

from django.urls import path

from ai_answers import views

app_name = "ai"
urlpatterns = [
    path("ai/", views.overview, name="overview"),
    path("me/ai/", views.disclosures, name="disclosures"),
    path("me/ai/consent/", views.change_consent, name="consent"),
]
