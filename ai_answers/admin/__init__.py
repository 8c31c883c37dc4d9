"""Django admin for materials and the machine's answers: what it read, said, quoted and cost."""

from ai_answers.admin import answers, calls, conversations, evaluation, institution, materials, policy  # noqa: F401 (they register themselves)
