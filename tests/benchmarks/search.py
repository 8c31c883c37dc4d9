"""How fast search is over a million posts, in the largest of many courses.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.search [--threads 100000] [--queries 300] [--rounds 3]

Texts are drawn, with a fixed seed, from the words of Python's own reference (`pydoc_data.topics`) as often as they
stand there, mixed with made-up rare ones. Prints p50, p95 and p99 of each kind of call: the medians of the rounds.
"""

import argparse
import random
import re
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tests.benchmarks.scratch import percentile, scratch_database

SEED = 7
SMALL_COURSES = 25


@dataclass(frozen=True)
class Sizes:
    """How many threads the largest course and each of the others have, and how many replies stand in a thread."""

    large: int
    small: int
    replies: int


class Words:
    """Sentences of a repeatable language in which few words are common and most are rare."""

    def __init__(self, sentences: int) -> None:
        from pydoc_data.topics import topics

        self.random = random.Random(SEED)
        common = re.findall(r"[a-z]{2,}", " ".join(topics.values()).lower())
        parts = sorted({word[:4] for word in common if len(word) > 4})
        rare = ["".join(self.random.sample(parts, 2)) for _ in range(30_000)]
        self.sentences = [self._sentence(common, rare) for _ in range(sentences)]

    def _sentence(self, common: Sequence[str], rare: Sequence[str]) -> str:
        length = self.random.randint(6, 14)
        return " ".join(self.random.choice(rare if self.random.random() < 0.08 else common) for _ in range(length))

    def title(self) -> str:
        return " ".join(self.random.choice(self.sentences).split()[: self.random.randint(4, 9)]).capitalize()

    def text(self) -> str:
        return ". ".join(self.random.choices(self.sentences, k=self.random.randint(1, 5)))


def fill(sizes: Sizes, words: Words) -> Any:
    """Load the courses by COPY with triggers off, then compute what they would have; return a student of the largest."""
    from django.db import connection, transaction

    from accounts.access import Member
    from accounts.models import Enrollment, Role
    from forum.models import Post, Pseudonym, Tag, Thread, ThreadTag
    from tests import factories

    world = factories.make_world()
    home = world.institution
    users = [world.user(name) for name in ("sam", "noor", "tim", "ada")]
    users += [factories.make_user(home, f"student-{number}") for number in range(sizes.large // 100)]
    courses = [world.course] + [factories.make_course(home, f"bench-{n}") for n in range(SMALL_COURSES)]
    draw = words.random
    threads: list[Thread] = []
    posts: list[tuple[Thread, Any]] = []
    tags: list[ThreadTag] = []
    pseudonyms: list[Pseudonym] = []
    start = world.course.created_at - timedelta(days=200)
    for course in courses:
        if course == world.course:
            Enrollment.objects.bulk_create(
                Enrollment(institution=home, course=course, user=user, role=Role.STUDENT) for user in users[4:]
            )
        tag = Tag.objects.create(institution=home, course=course, slug="exam", name="Exam")
        for number in range(1, (sizes.large if course == world.course else sizes.small) + 1):
            when = start + timedelta(seconds=60 * number)
            thread = Thread(
                institution=home, course=course, number=number, author=draw.choice(users), title=words.title(),
                body=words.text(), body_html="", submission_key=uuid.uuid4(), created_at=when, last_activity_at=when,
                visibility="staff" if number % 50 == 0 else "course", reply_count=sizes.replies,
                status=draw.choice(["open", "answered", "resolved"]),
            )  # fmt: skip
            if number % 20 == 0:
                pseudonym = Pseudonym(institution=home, thread=thread, user=thread.author, name=f"Keen {number}")
                thread.anonymity, thread.pseudonym = "classmates", pseudonym
                pseudonyms.append(pseudonym)
            if number % 10 == 0:
                tags.append(ThreadTag(institution=home, thread=thread, tag=tag))
            threads.append(thread)
            posts += [(thread, when + timedelta(minutes=reply)) for reply in range(sizes.replies)]
    replies = (
        Post(
            institution=home, thread=thread, author=draw.choice(users), body=words.text(), body_html="",
            submission_key=uuid.uuid4(), created_at=when,
        )
        for thread, when in posts
    )  # fmt: skip
    with transaction.atomic(), connection.cursor() as cursor:
        # No trigger runs, foreign keys among them: a million small statements are what takes the time.
        cursor.execute("SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = 0")
        for model, rows in ((Thread, threads), (Pseudonym, pseudonyms), (Post, replies), (ThreadTag, tags)):
            _copy(cursor, model, rows)
        cursor.execute("DROP INDEX search_entry_words, search_thread_words")
        cursor.execute(
            """
            INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
            SELECT gen_random_uuid(), t.institution_id, t.id, NULL,
                setweight(forum_words(title), 'A') || setweight(forum_words(body), 'B')
                || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
            FROM forum_thread t
            UNION ALL
            SELECT gen_random_uuid(), p.institution_id, p.thread_id, p.id,
                setweight(forum_words(p.body), 'C')
                || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
            FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id
            """
        )
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute("CREATE INDEX search_entry_words ON forum_searchentry USING gin (vector)")
        cursor.execute("CREATE INDEX search_thread_words ON forum_searchentry USING gin (vector) WHERE post_id IS NULL")
        _draw_vectors(cursor)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return Member(world.user("sam"), world.course, Role.STUDENT)


def _draw_vectors(cursor: Any) -> None:
    """Give every thread vectors, out of a thousand random ones: what comparing costs doesn't hang on what they say."""
    import numpy as np

    from quokkaq.lib.embedding import local_embedder

    embedder = local_embedder()
    if embedder is None:
        return
    length = embedder.embed(["how long"]).shape[1]
    drawn = np.random.default_rng(SEED).standard_normal((1000, length))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    cursor.execute("CREATE TEMPORARY TABLE drawn (n integer PRIMARY KEY, vector halfvec) ON COMMIT DROP")
    cursor.executemany(
        "INSERT INTO drawn VALUES (%s, %s::halfvec)",
        [(number, str(vector.round(4).tolist())) for number, vector in enumerate(drawn)],
    )
    cursor.execute(
        """
        INSERT INTO forum_threadvector (id, institution_id, thread_id, course_id, model, digest, made_from, of_title, of_all)
        SELECT gen_random_uuid(), t.institution_id, t.id, t.course_id, %s, '', t.created_at, d.vector, d.vector
        FROM forum_thread t JOIN drawn d ON d.n = t.number %% 1000
        """,
        [embedder.name],
    )


def _copy(cursor: Any, model: Any, rows: Any) -> None:
    fields = model._meta.concrete_fields
    columns = ", ".join(f'"{field.column}"' for field in fields)
    with cursor.copy(f"COPY {model._meta.db_table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([getattr(row, field.attname) for field in fields])


def calls(member: Any, words: Words, count: int) -> Iterator[tuple[str, list[Callable[[], object]]]]:
    """Yield the kinds of call that are measured, each with `count` of them."""
    from forum.search import find, parse_query, similar_threads, suggest

    draw = words.random

    def some(number: int) -> str:
        sentence = draw.choice(words.sentences).split()
        return " ".join(draw.sample(sentence, min(number, len(sentence))))

    def searching(typed: str) -> Callable[[], object]:
        return lambda: find(parse_query(typed), member=member)

    def suggesting() -> Callable[[], object]:
        title = words.title()
        typed = title[: draw.randint(3, len(title))]
        return lambda: suggest(member, typed)

    def comparing() -> Callable[[], object]:
        title, body = words.title(), words.text()
        return lambda: similar_threads(member, title=title, body=body)

    yield "find, 1-5 words", [searching(some(draw.randint(1, 5))) for _ in range(count)]
    operators = ("tag:exam", "is:unanswered", "by:noor", "after:2020-01-01", "in:threads", "is:unread", "by:keen")
    yield (
        "find, 1-3 words and an operator",
        [searching(f"{some(draw.randint(1, 3))} {draw.choice(operators)}") for _ in range(count)],
    )
    yield "find, operators alone", [searching(" ".join(draw.sample(operators[:3], 2))) for _ in range(count // 3)]
    yield "suggest", [suggesting() for _ in range(count)]
    yield "similar threads, title and text", [comparing() for _ in range(count)]


def measure(member: Any, words: Words, *, queries: int, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Return p50, p95 and p99 in milliseconds of each kind of call: the medians of the rounds."""
    found: dict[str, tuple[float, float, float]] = {}
    for name, made in calls(member, words, queries):
        made[0]()
        shares: list[tuple[float, float, float]] = []
        for _ in range(rounds):
            times: list[float] = []
            for call in made:
                begin = time.perf_counter()
                call()
                times.append(1000 * (time.perf_counter() - begin))
            shares.append((percentile(times, 0.5), percentile(times, 0.95), percentile(times, 0.99)))
        p50, p95, p99 = (statistics.median(column) for column in zip(*shares, strict=True))
        found[name] = (p50, p95, p99)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=100_000)
    arguments.add_argument("--queries", type=int, default=300)
    arguments.add_argument("--rounds", type=int, default=3)
    asked = arguments.parse_args()
    words = Words(100_000)
    with scratch_database():
        begin = time.perf_counter()
        member = fill(Sizes(asked.threads, asked.threads // 50, 6), words)
        print(f"loaded in {time.perf_counter() - begin:.0f} s", flush=True)
        for name, (p50, p95, p99) in measure(member, words, queries=asked.queries, rounds=asked.rounds).items():
            print(f"{name:34} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  p99 {p99:6.1f} ms", flush=True)


if __name__ == "__main__":
    main()
