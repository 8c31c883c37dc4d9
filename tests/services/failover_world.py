"""Fill a migrated database for `test_failover_drill.py`, and say on one line who is signed in where.

    python -m tests.services.failover_world

Run in a process of its own, whose settings name that database as its owner.
"""

import json
import os

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
    django.setup()
    from django.conf import settings
    from django.test import Client

    from quokkaq.lib import tenancy
    from tests import factories

    with tenancy.scope(tenancy.EVERY):
        world = factories.make_world()
        thread = factories.make_thread(world.member("sam"))
        client = Client()
        client.force_login(world.user("sam"))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    print(json.dumps({"cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}", "thread": f"/c/cs-101/{thread.number}/"}))


if __name__ == "__main__":
    main()
