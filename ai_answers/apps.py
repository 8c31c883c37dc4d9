"""Answers by the machine, from the course's own materials."""

from django.apps import AppConfig


class AiAnswersConfig(AppConfig):
    name = "ai_answers"
    verbose_name = "AI answers"

    def ready(self) -> None:
        from ai_answers import receivers  # noqa: F401 (connects itself)
        from ai_answers.queue import given_up
        from ai_answers.views import answer_panel
        from forum.panels import register_thread_panel
        from forum.queue import register_queue_source

        register_thread_panel(answer_panel)
        register_queue_source(given_up)
