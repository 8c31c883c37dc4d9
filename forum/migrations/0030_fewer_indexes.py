"""Foreign keys whose column another index begins with need none of their own: each costs every reply and read mark a write."""

from typing import ClassVar

from django.db import migrations

from quokkaq.lib.database.operations import RemoveKeyIndexesConcurrently


class Migration(migrations.Migration):
    atomic = False
    dependencies: ClassVar = [("forum", "0029_private_threads")]
    operations: ClassVar = [
        RemoveKeyIndexesConcurrently(
            keys={
                "thread": ["author", "course"],
                "threadtag": ["thread"],
                "threadread": ["user"],
                "post": ["author", "thread"],
                "revision": ["thread", "post"],
                "vote": ["user"],
                "samequestion": ["user"],
                "endorsement": ["post"],
                "follow": ["user", "thread"],
                "notification": ["user"],
                "searchentry": ["thread", "post"],
                "threadvector": ["course"],
            }
        )
    ]
