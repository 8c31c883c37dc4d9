"""`manage.py seed_demo`: put the demo courses and people into an empty place, once."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from quokkaq import demo
from quokkaq.env import Mode


class Command(BaseCommand):
    help = "Add the demo courses, people and threads. Does nothing when they are there; never deletes anything."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.MODE is Mode.PRODUCTION:
            raise CommandError(
                "seed_demo makes people whose password is public, so it only works with QUOKKAQ_MODE=demo or development."
            )
        if demo.is_seeded():
            self.stdout.write("The demo is already there.")
            return
        demo.seed()
        counts = demo.counts()
        self.stdout.write(
            f"Demo ready: {counts['threads']} threads, {counts['replies']} replies, {counts['materials']} materials, "
            f"{counts['answers']} answers quoted from them."
        )
