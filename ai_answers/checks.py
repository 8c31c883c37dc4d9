"""System checks of the AI: what would surprise whoever chose an engine."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import DatabaseError

from ai_answers.engines.configured import connections
from ai_answers.models import CourseAI, InstitutionAI


@register(Tags.database)
def check_chosen_engines_are_configured(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """An engine that was chosen and can't be reached is stood in for by quotations, which nobody expects."""
    if not databases:
        return []
    missing = {"openai", "anthropic"} - set(connections())
    try:
        chosen = {
            *InstitutionAI.objects.filter(engine__in=missing).values_list("engine", flat=True),
            *CourseAI.objects.filter(engine__in=missing).values_list("engine", flat=True),
        }
    except DatabaseError:  # before the first migration
        return []
    return [
        CheckWarning(
            f"An institution or a course chose the engine “{name}”, which isn't set up: it answers with quotations only.",
            hint=f"Set {name.upper()}_API_KEY and {name.upper()}_MODEL, or choose another engine in the admin.",
            id="ai_answers.W001",
        )
        for name in sorted(chosen)
    ]
