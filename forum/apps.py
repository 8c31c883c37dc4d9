"""Questions, answers and discussions between people."""

from django.apps import AppConfig


class ForumConfig(AppConfig):
    name = "forum"
    verbose_name = "Forum"

    def ready(self) -> None:
        from accounts.access import register_holder, register_linkable
        from accounts.models import Purpose
        from forum import receivers  # noqa: F401 (connects them)
        from forum.attachments import name_for_reader
        from forum.linking import linkable
        from forum.own_data import register_own_data

        register_holder(Purpose.ATTACHMENT, name_for_reader)
        register_linkable(linkable)
        register_own_data()
