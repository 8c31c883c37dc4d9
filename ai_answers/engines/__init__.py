"""What writes answers, behind one small interface (docs/adr/0003)."""

from ai_answers.engines.base import (
    Abstention,
    Engine,
    Quote,
    Request,
    Source,
    Statement,
    Task,
    Turn,
    Unavailable,
    Usage,
)
from ai_answers.engines.configured import configured_engine
from ai_answers.engines.extractive import ExtractiveEngine


def default_engine() -> Engine:
    """Return the engine that answers when a course has chosen none: it needs no key and no network."""
    return ExtractiveEngine()


__all__ = [
    "Abstention",
    "Engine",
    "ExtractiveEngine",
    "Quote",
    "Request",
    "Source",
    "Statement",
    "Task",
    "Turn",
    "Unavailable",
    "Usage",
    "configured_engine",
    "default_engine",
]
