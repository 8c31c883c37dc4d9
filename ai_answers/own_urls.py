"""Routes of what the AI keeps of a person, outside any course."""

from django.urls import path

from ai_answers import views

app_name = "ai"
urlpatterns = [
    path("me/ai/", views.disclosures, name="disclosures"),
    path("me/ai/consent/", views.change_consent, name="consent"),
]
