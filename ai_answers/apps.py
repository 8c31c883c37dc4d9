"""Answers by the machine, from the course's own materials."""

from django.apps import AppConfig


class AiAnswersConfig(AppConfig):
    name = "ai_answers"
    verbose_name = "AI answers"

    def ready(self) -> None:
        from ai_answers import checks, finding, receivers  # noqa: F401 (checks and receivers register themselves)
        from ai_answers.health import EngineCheck
        from ai_answers.insights import MACHINE_ANSWERS
        from ai_answers.own_data import register_own_data
        from ai_answers.points import shared_threads
        from ai_answers.queue import given_up, to_review
        from ai_answers.views import (
            answer_panel,
            ask_about_answer,
            ask_about_summary,
            ask_panel,
            conversation_as_thread,
            question_as_thread,
            summary_panel,
        )
        from forum.insights.sources import register_machine_answers
        from forum.panels import register_ask_origin, register_ask_panel, register_thread_panel
        from forum.places import Bar, Place, register_place
        from forum.points import register_shared
        from forum.queue import register_queue_source
        from forum.search import register_source
        from quokkaq.lib.health import register as register_check

        register_check(EngineCheck)
        register_own_data()
        register_thread_panel(ask_about_answer, answer_panel)
        register_thread_panel(ask_about_summary, summary_panel)
        register_ask_panel(ask_panel)
        register_ask_origin("conversation", conversation_as_thread)
        register_ask_origin("question", question_as_thread)
        register_place(Place(Bar.COURSE, "ai", "Ask the AI", "ai_answers:conversations", "spark"))
        register_shared(shared_threads)
        register_queue_source(given_up)
        register_queue_source(to_review)
        register_place(Place(Bar.QUEUE, "answers", "AI answers", "ai_answers:review", for_staff=True))
        register_place(Place(Bar.SET_UP, "ai", "AI", "ai_answers:course-ai", for_staff=True))
        register_place(Place(Bar.SET_UP, "spending", "AI spending", "ai_answers:spending", for_staff=True))
        register_place(Place(Bar.SET_UP, "confidence", "AI confidence", "ai_answers:confidence", for_staff=True))
        register_source("answers", finding.rank_answers, finding.fill_answers)
        register_source("materials", finding.rank_materials, finding.fill_materials)
        register_machine_answers(MACHINE_ANSWERS)
