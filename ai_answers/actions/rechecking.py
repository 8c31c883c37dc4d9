"""When a source changes."""

from ai_answers.models import Material


def enqueue_recheck(*, material: Material) -> None:
    """Have every answer that quotes the material checked, if the transaction commits that changed or deleted it."""
