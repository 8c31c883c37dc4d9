"""Answers by the machine, from the course's own materials."""

from django.apps import AppConfig


class AiAnswersConfig(AppConfig):
    name = "ai_answers"
    verbose_name = "AI answers"

    def ready(self) -> None:
        from ai_answers import finding, receivers  # noqa: F401 (receivers connect themselves)
        from ai_answers.insights import MACHINE_ANSWERS
        from ai_answers.points import shared_threads
        from ai_answers.queue import given_up
        from ai_answers.views import (
            answer_panel,
            ask_panel,
            conversation_as_thread,
            question_as_thread,
            summary_panel,
        )
        from forum.insights.sources import register_machine_answers
        from forum.panels import (
            NavLink,
            register_ask_origin,
            register_ask_panel,
            register_nav_link,
            register_thread_panel,
        )
        from forum.points import register_shared
        from forum.queue import register_queue_source
        from forum.search import register_source

        register_thread_panel(answer_panel)
        register_thread_panel(summary_panel)
        register_ask_panel(ask_panel)
        register_ask_origin("conversation", conversation_as_thread)
        register_ask_origin("question", question_as_thread)
        register_nav_link(NavLink("Ask the AI", "spark", "ai_answers:conversations", "ai"))
        register_shared(shared_threads)
        register_queue_source(given_up)
        register_source("answers", finding.rank_answers, finding.fill_answers)
        register_source("materials", finding.rank_materials, finding.fill_materials)
        register_machine_answers(MACHINE_ANSWERS)
