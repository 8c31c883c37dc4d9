"""Answers by the machine, from the course's own materials."""

from django.apps import AppConfig


class AiAnswersConfig(AppConfig):
    name = "ai_answers"
    verbose_name = "AI answers"

    def ready(self) -> None:
        from ai_answers import checks, finding, receivers  # noqa: F401 (checks and receivers register themselves)
        from ai_answers.insights import MACHINE_ANSWERS
        from ai_answers.queue import given_up
        from ai_answers.views import answer_panel
        from forum.insights.sources import register_machine_answers
        from forum.panels import register_thread_panel
        from forum.queue import register_queue_source
        from forum.search import register_source

        register_thread_panel(answer_panel)
        register_queue_source(given_up)
        register_source("answers", finding.rank_answers, finding.fill_answers)
        register_source("materials", finding.rank_materials, finding.fill_materials)
        register_machine_answers(MACHINE_ANSWERS)
