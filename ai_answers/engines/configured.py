"""Which engines this installation has, by its settings."""

from django.conf import settings

from ai_answers.engines.base import Engine
from ai_answers.engines.extractive import ExtractiveEngine
from ai_answers.engines.remote import Connection


def configured_engine(name: str) -> Engine | None:
    """Return the engine called `name`; None when the settings don't say how to reach it."""
    if name == "extractive":
        return ExtractiveEngine()
    connection = connections().get(name)
    if connection is None:
        return None
    if name == "openai":
        from ai_answers.engines.openai_chat import OpenAIEngine

        return OpenAIEngine(connection)
    from ai_answers.engines.anthropic_messages import AnthropicEngine

    return AnthropicEngine(connection)


def connections() -> dict[str, Connection]:
    """Return the providers that are configured. A server of one's own may need no key, a provider's always does."""
    found = {}
    if settings.OPENAI_MODEL and (settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL):
        found["openai"] = Connection(
            settings.OPENAI_MODEL,
            settings.OPENAI_BASE_URL or "https://api.openai.com/v1",
            settings.OPENAI_API_KEY,
            settings.AI_MAX_OUTPUT_TOKENS,
        )
    if settings.ANTHROPIC_MODEL and settings.ANTHROPIC_API_KEY:
        found["anthropic"] = Connection(
            settings.ANTHROPIC_MODEL,
            settings.ANTHROPIC_BASE_URL or "https://api.anthropic.com",
            settings.ANTHROPIC_API_KEY,
            settings.AI_MAX_OUTPUT_TOKENS,
        )
    return found
