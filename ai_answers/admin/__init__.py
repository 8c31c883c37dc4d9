"""Django admin for materials and the machine's answers: what it read, said, quoted and cost."""

from ai_answers.admin import answers, calls, evaluation, materials  # noqa: F401 (they register themselves)
