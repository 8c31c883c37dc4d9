"""What people do most, through the pages of the code it stands in: `python -m tests.release_smoke`.

Run by `tests/quokkaq/test_migrations.py` in the tree of the last release, on a database that this one's migrations made.
"""

import json
import os
import uuid

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")


def main() -> None:
    import django

    django.setup()
    from django.test.utils import setup_test_environment

    setup_test_environment()
    from django.conf import settings
    from django.urls import reverse

    from forum.models import Thread
    from quokkaq.lib import tenancy
    from tests import factories

    def typed(**fields: str) -> dict[str, str]:
        return {"anonymity": "named", "form_key": str(uuid.uuid4()), **fields}

    def url(name: str, *of: object) -> str:
        return reverse(f"forum:{name}", args=["cs-101", *of])

    with tenancy.scope(tenancy.EVERY):
        world = factories.make_world()
        sam, noor = (factories.browser(world.user(name)) for name in ("sam", "noor"))
    answers = {
        "empty list": sam.get(url("list")),
        "ask": sam.post(url("ask"), typed(
            title="Why is the sky blue?", body="It is **blue** by day.", kind="question", visibility="course",
        )),
    }  # fmt: skip
    with tenancy.scope(tenancy.EVERY):
        number = Thread.objects.get().number
    answers["reply"] = noor.post(url("reply", number), typed(body="Because of *scattering*."))
    answers["vote"] = noor.post(url("vote-thread", number), {"on": "1"})
    answers["list"], answers["page"] = noor.get(url("list")), sam.get(url("thread", number))
    answers["search"] = noor.get(url("search"), {"q": "blue"})
    with tenancy.scope(tenancy.EVERY):
        thread = Thread.objects.get()
    print(json.dumps({
        "code": str(settings.BASE_DIR), "statuses": {name: answer.status_code for name, answer in answers.items()},
        "votes": thread.vote_count, "replies": thread.reply_count,
        "listed": "Why is the sky blue?" in answers["list"].content.decode(),
        "read": "<em>scattering</em>" in answers["page"].content.decode(),
        "found": "Why is the sky" in answers["search"].content.decode(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
