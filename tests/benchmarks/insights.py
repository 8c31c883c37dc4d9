"""How long the insights and one's own points take in a large course.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.insights [--threads 20000 --posts 100000]

Everything was written within the last 180 days, so the longest period and the one before hold all of it.
"""

import argparse
import random
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.scratch import percentile, scratch_database

if TYPE_CHECKING:
    from tests.factories import World

PEOPLE = 300
WORDS = [f"word{place}" for place in range(3000)]
# Words are as rare as in a language: the nth one stands 1/n as often as the first (Zipf).
FREQUENCY = [1 / (place + 1) for place in range(len(WORDS))]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=20_000)
    arguments.add_argument("--posts", type=int, default=100_000)
    arguments.add_argument("--runs", type=int, default=5)
    wanted = arguments.parse_args()
    with scratch_database():
        world = fill(wanted.threads, wanted.posts)
        measure(world, wanted.runs)


def fill(threads: int, posts: int) -> "World":
    """Write a course, and give the database its statistics."""
    from django.db import connection
    from django.utils import timezone

    from accounts.models import Role
    from forum.models import Endorsement, Post, SameQuestion, Thread, ThreadTag, Vote
    from quokkaq.lib.uuid7 import uuid7
    from tests import factories

    draw = random.Random(7)
    world = factories.make_world()
    home, course, now = world.institution, world.course, timezone.now()
    people = [factories.make_user(home, f"person{place}") for place in range(PEOPLE)]
    staff = [world.user("ada"), world.user("tim")]
    tags = [factories.make_tag(course, f"tag{place}") for place in range(20)]

    def written(**fields: object) -> dict[str, object]:
        return {
            "id": uuid7(),
            "institution": home,
            "submission_key": uuid.uuid4(),
            "body": "-",
            "body_html": "",
            **fields,
        }

    asked = [
        Thread(
            **written(
                course=course, number=place + 1, author=draw.choice(people),
                title=" ".join(draw.choices(WORDS, FREQUENCY, k=7)).capitalize() + "?",
                status=draw.choice(["open", "answered", "answered", "resolved"]),
                created_at=now - timedelta(minutes=draw.uniform(1, 180 * 24 * 60)),
            )
        )
        for place in range(threads)
    ]  # fmt: skip
    Thread.objects.bulk_create(asked, batch_size=2000)
    ThreadTag.objects.bulk_create(
        (ThreadTag(institution=home, thread=thread, tag=draw.choice(tags)) for thread in asked), batch_size=5000
    )
    replies: list[Post] = []
    for _ in range(posts):
        thread, by_staff = draw.choice(asked), draw.random() < 0.2
        author = draw.choice(staff if by_staff else people)
        at = min(now, thread.created_at + timedelta(minutes=draw.expovariate(1 / 600)))
        parent = draw.choice(replies) if replies and draw.random() < 0.3 else None
        replies.append(
            Post(
                **written(
                    thread=parent.thread if parent else thread, parent=parent, author=author, is_by_staff=by_staff,
                    created_at=at,
                )
            )
        )  # fmt: skip
    Post.objects.bulk_create(replies, batch_size=2000)
    answers = [post for post in replies if post.parent is None]
    chosen = draw.sample(answers, len(answers) // 5)
    Endorsement.objects.bulk_create(
        (Endorsement(institution=home, post=post, endorser=draw.choice(staff), role=Role.TA) for post in chosen),
        batch_size=5000,
    )
    votes = {(draw.choice(people).pk, draw.choice(answers).pk) for _ in range(posts)}
    Vote.objects.bulk_create(
        (Vote(institution=home, user_id=user, post_id=post) for user, post in votes), batch_size=5000
    )
    same = {(draw.choice(people).pk, draw.choice(asked).pk) for _ in range(threads)}
    SameQuestion.objects.bulk_create(
        (SameQuestion(institution=home, user_id=user, thread_id=thread) for user, thread in same), batch_size=5000
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    print(f"{threads} threads, {posts} posts, {len(votes)} votes, {PEOPLE} people")
    world.people["one"] = people[0]
    return world


def measure(world: "World", runs: int) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from accounts.access import Member
    from accounts.models import Role
    from forum import activity, points
    from forum.insights import DAYS, Period
    from forum.insights.numbers import measure as count

    ada = Member(world.user("ada"), world.course, Role.INSTRUCTOR)
    one = Member(world.user("one"), world.course, Role.STUDENT)
    calls: dict[str, Callable[[], object]] = {
        f"insights over {days} days": partial(lambda days: count(ada, Period.last(days)), days) for days in DAYS
    }
    calls |= {"one's activity": lambda: activity.activity(one), "one's ledger": lambda: points.ledger(one)}
    for name, call in calls.items():
        times = []
        for _ in range(runs + 1):
            started = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - started))
        with CaptureQueriesContext(connection) as captured:
            call()
        slowest = max(captured.captured_queries, key=lambda query: float(query["time"]))
        print(
            f"{name}: first {times[0]:.0f} ms, then p50 {percentile(times[1:], 0.5):.0f} ms, max {max(times[1:]):.0f} ms; "
            f"{len(captured)} queries, slowest {1000 * float(slowest['time']):.0f} ms: {slowest['sql'][:90]}"
        )


if __name__ == "__main__":
    main()
