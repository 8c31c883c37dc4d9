"""Questions, answers and discussions between people."""

from django.apps import AppConfig


class ForumConfig(AppConfig):
    name = "forum"
    verbose_name = "Forum"

    def ready(self) -> None:
        from forum import receivers  # noqa: F401 (connects them)
