"""A generated forum: 50 courses of five institutions, as skewed as real ones, loaded by COPY.

    python -m tests.benchmarks.forum_data [--threads 1000000]

Builds the database once and keeps it: a server of its own in `.local/bench`, one database for each size. Texts are
drawn, with a fixed seed, from `tests.benchmarks.search.Words`; their lengths are log-normal (median 350 characters,
as in course forums; see `docs/benchmarks.md`), a quarter has code, some have formulas. One course is hot: it has a
tenth of all threads and, in `HOT`, a thread of 50 replies of about 600 characters.
"""

import argparse
import itertools
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SEED = 9
COURSES = 50
INSTITUTIONS = 5
TEXTS = 5_000
TAGS = ("exam", "homework", "lab", "logistics", "project", "reading", "recitation", "syllabus")
HOT = "hot"
HOT_THREAD = 1  # its number in the hot course
HOT_REPLIES = 50
# People with a part to play, by their number. Everybody's password is `tests.factories.PASSWORD`.
STUDENT, INSTRUCTOR, OPERATOR = 0, 1, 2
STAFF_OF_EACH_COURSE = 5
# As a university's database server would be set; PostgreSQL's own defaults are for 128 MB.
SERVER = {
    "shared_buffers": "2GB",
    "effective_cache_size": "12GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "1GB",
    "random_page_cost": "1.1",
    "max_wal_size": "8GB",
    "jit": "off",
}


@dataclass(frozen=True)
class Sizes:
    """How much of everything there is."""

    threads: int

    @property
    def posts(self) -> int:
        return 5 * self.threads

    @property
    def users(self) -> int:
        return max(1000, self.threads // 10)

    @property
    def hot(self) -> int:
        """How many threads the hot course has."""
        return max(self.threads // 10, min(self.threads, 2000))

    def of_courses(self) -> list[int]:
        """Return how many threads each course has, the hot one first; the others are as unequal as words (Zipf)."""
        left = self.threads - self.hot
        weights = [1 / (place + 3) for place in range(COURSES - 1)]
        counts = [int(left * weight / sum(weights)) for weight in weights]
        counts[0] += left - sum(counts)
        return [self.hot, *counts]

    @property
    def database(self) -> str:
        return f"threads_{self.threads}"


def email(person: int) -> str:
    return f"person{person}@bench.example.edu"


def server() -> Any:
    """Return the server that the generated forums lie in, running, with the settings of `SERVER`."""
    from quokkaq.lib.postgres import EmbeddedPostgres

    found = EmbeddedPostgres(ROOT / ".local" / "bench", durable=True)
    is_new = not (found.data / "PG_VERSION").exists()
    found.ensure_running("postgres")
    if is_new:
        import psycopg

        with psycopg.connect(found.url("postgres"), autocommit=True) as owner:
            for name, value in SERVER.items():
                owner.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        found._run("pg_ctl", "restart", "-D", str(found.data), "-w", "-s", "-m", "fast", "-o", _options(found))
    return found


def _options(found: Any) -> str:
    return f"-c listen_addresses='' -c unix_socket_directories='{found.socket_directory}' -c max_connections=60"


def variables(found: Any, sizes: Sizes) -> dict[str, str]:
    """Return the settings with which QuokkaQ works on a generated forum: pages as the web role, below its walls."""
    return {
        "DATABASE_URL": found.url(sizes.database, user="quokkaq_web"),
        "OWNER_DATABASE_URL": found.url(sizes.database),
    }


@contextmanager
def generated(sizes: Sizes) -> Iterator[Any]:
    """Set Django up as the owner of a forum of these sizes, made if it isn't there; yield the server."""
    sys.path.insert(0, str(ROOT))
    os.environ["QUOKKAQ_MODE"] = "demo"
    os.environ["DJANGO_SETTINGS_MODULE"] = "quokkaq.settings"
    found = server()
    os.environ.update(variables(found, sizes))
    os.environ["DATABASE_URL"] = os.environ["OWNER_DATABASE_URL"]
    import django

    django.setup()
    import psycopg

    with psycopg.connect(found.url("postgres"), autocommit=True) as owner:
        there = owner.execute("SELECT 1 FROM pg_database WHERE datname = %s", [sizes.database]).fetchone()
        if not there:
            made = f"{sizes.database}_filling"
            owner.execute(f"DROP DATABASE IF EXISTS {made}")
            owner.execute(f"CREATE DATABASE {made}")
            _build(found, sizes, made)
            owner.execute(f"ALTER DATABASE {made} RENAME TO {sizes.database}")
    make_facts()
    yield found


def make_facts() -> None:
    """Make what the insights add up, where it is due: the worker's work."""
    from forum.insights.facts import refresh_facts
    from quokkaq.lib import tenancy

    for institution in tenancy.institutions():
        with tenancy.scope(institution):
            while refresh_facts():
                pass


def _build(found: Any, sizes: Sizes, database: str) -> None:
    import subprocess

    import psycopg

    variables = {
        **os.environ,
        "DATABASE_URL": found.url(database, user="quokkaq_web"),
        "OWNER_DATABASE_URL": found.url(database),
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "--noinput"], cwd=ROOT, env=variables, check=True)
    begin = time.perf_counter()

    def said(what: str) -> None:
        print(f"{time.perf_counter() - begin:6.0f} s  {what}", flush=True)

    with psycopg.connect(found.url(database), autocommit=True) as one, psycopg.connect(found.url(database)) as other:
        fill(one, other, sizes, said)


def fill(owner: Any, other: Any, sizes: Sizes, said: Any) -> None:
    """Load everything. Triggers are off, so what they would keep (counters, search entries) is computed here.

    Args:
        owner: a connection that commits by itself; `other`: a second one.
    """
    # Superusers may; foreign keys and counters are right by the way it is made (`manage.py check_counters` proves it).
    for connection in (owner, other):
        connection.execute("SET session_replication_role = replica")
        connection.execute("SET statement_timeout = 0")
    from quokkaq.lib.markdown import RENDERER_VERSION

    draw = random.Random(SEED)
    _texts(owner, draw)
    said("texts")
    _people(owner, sizes)
    said(f"{sizes.users} people in {COURSES} courses")
    _skeleton(owner, other, sizes, draw)
    said("who wrote what, where and when")
    indexes = _drop_indexes(owner, ("forum_thread", "forum_post", "forum_searchentry", "forum_threadvector"))
    values = {
        "version": RENDERER_VERSION,
        "institutions": INSTITUTIONS,
        "crowd": (sizes.users - 100) // INSTITUTIONS,
        "course_word": "array_to_tsvector(ARRAY['crs:' || replace(c.id::text, '-', '')])",
    }
    for name, statement in _STATEMENTS.items():
        owner.execute(statement.format(**values))
        said(name)
    _vectors(owner)
    said("vectors")
    for definition in indexes:
        owner.execute(definition)
    said(f"{len(indexes)} indexes")
    owner.execute("DROP TABLE bench_thread, bench_post, bench_text, bench_person, bench_course")
    owner.execute("VACUUM ANALYZE")
    said("statistics")


def _texts(owner: Any, draw: random.Random) -> None:
    """Write and render the texts that all writings are drawn from."""
    from quokkaq.lib.markdown import References, render
    from tests.benchmarks.search import Words

    words = Words(20_000)

    def written(place: int) -> str:
        # The last ones are what the hot thread is made of.
        length = 600 if place >= TEXTS - HOT_REPLIES - 1 else min(9000, draw.lognormvariate(5.86, 0.9))
        parts: list[str] = []
        while sum(map(len, parts)) < length:
            parts.append(". ".join(s.capitalize() for s in draw.choices(words.sentences, k=draw.randint(1, 4))) + ".")
            if draw.random() < 0.12:
                name = draw.choice(words.sentences).split()[0]
                parts.append(f"```python\nfor {name} in range({draw.randint(2, 99)}):\n    print({name} ** 2)\n```")
            elif draw.random() < 0.1:
                parts[-1] += f" Is it `{draw.choice(words.sentences).split()[0]}()` or $x^{draw.randint(2, 9)} + y$?"
        return "\n\n".join(parts)[:9900]

    owner.execute("CREATE UNLOGGED TABLE bench_text (n integer PRIMARY KEY, title text, body text, html text)")
    with owner.cursor().copy("COPY bench_text FROM STDIN") as copy:
        for place in range(TEXTS):
            body = written(place)
            copy.write_row((place, words.title()[:180] + "?", body, render(body, References(f"/c/{HOT}/"))))
    owner.execute("ALTER TABLE bench_text ADD b tsvector, ADD c tsvector")
    owner.execute(
        "UPDATE bench_text SET b = setweight(forum_words(title), 'A') || setweight(forum_words(body), 'B'), "
        "c = setweight(forum_words(body), 'C')"
    )


def _people(owner: Any, sizes: Sizes) -> None:
    """Write institutions, courses with tags, people, and who is in which course."""
    from django.contrib.auth.hashers import make_password

    from tests.factories import PASSWORD

    owner.execute(
        "INSERT INTO accounts_institution (id, name, slug, created_at, staff_second_factor) SELECT gen_random_uuid(), "
        "'University ' || n, 'university-' || n, now(), false FROM generate_series(0, %s) n",
        [INSTITUTIONS - 1],
    )
    owner.execute(
        f"""
        CREATE UNLOGGED TABLE bench_course AS
        SELECT n, gen_random_uuid() AS id, i.id AS institution_id, n % {INSTITUTIONS} AS at
        FROM generate_series(0, {COURSES - 1}) n JOIN accounts_institution i ON i.slug = 'university-' || n % {INSTITUTIONS};
        INSERT INTO accounts_course (id, code, name, term, slug, description, status, last_thread_number, created_at,
            institution_id, anonymity_policy, points_hidden, posting_policy)
        SELECT id, 'CS ' || 100 + n, 'Course ' || n, 'Autumn', CASE n WHEN 0 THEN '{HOT}' ELSE 'course-' || n END, '',
            'active', 0, now() - interval '800 days', institution_id, 'all', false, 'open' FROM bench_course;
        INSERT INTO forum_tag (id, slug, name, course_id, institution_id)
        SELECT gen_random_uuid(), t, initcap(t), c.id, c.institution_id FROM bench_course c, unnest(%s) t
        """.replace("%s", f"ARRAY[{', '.join(repr(tag) for tag in TAGS)}]")
    )
    # Who has a part stands at the institution of the hot course.
    owner.execute(
        f"""
        CREATE UNLOGGED TABLE bench_person AS
        SELECT n, gen_random_uuid() AS id, CASE WHEN n < 100 THEN 0 ELSE n % {INSTITUTIONS} END AS at
        FROM generate_series(0, {sizes.users - 1}) n;
        ALTER TABLE bench_person ADD PRIMARY KEY (n);
        """
    )
    owner.execute(
        """
        INSERT INTO accounts_user (password, is_superuser, id, email, display_name, pronouns, avatar, time_zone, theme,
            is_staff, is_active, created_at, institution_id, institution_role)
        SELECT %s, n = %s, p.id, 'person' || n || '@bench.example.edu', 'Person ' || n, '', '', 'UTC', 'auto',
            n = %s, true, now() - interval '800 days', i.id, 'member'
        FROM bench_person p JOIN accounts_institution i ON i.slug = 'university-' || p.at
        """,
        [make_password(PASSWORD), OPERATOR, OPERATOR],
    )
    owner.execute(
        f"""
        INSERT INTO account_emailaddress (email, verified, "primary", user_id)
        SELECT 'person' || n || '@bench.example.edu', true, true, id FROM bench_person;
        -- The student and the instructor are in the hot course; each course has staff; everybody is in three courses.
        INSERT INTO accounts_enrollment (id, role, status, section, created_at, course_id, user_id, institution_id,
            ban_reason, is_banned, sis_id)
        SELECT gen_random_uuid(), min(role), 'active', '', now() - interval '700 days', c.id, p.id, c.institution_id, '', false, ''
        FROM (
            SELECT {STUDENT} AS person, 0 AS course, 'student' AS role UNION ALL SELECT {INSTRUCTOR}, 0, 'instructor'
            UNION ALL SELECT 100 + c.n * {STAFF_OF_EACH_COURSE} * {INSTITUTIONS} + {INSTITUTIONS} * s + c.at, c.n, 'instructor'
            FROM bench_course c, generate_series(0, {STAFF_OF_EACH_COURSE - 1}) s
            UNION ALL SELECT p.n, (p.at + {INSTITUTIONS} * ((p.n / 7 + 3 * k) % {COURSES // INSTITUTIONS})) % {COURSES}, 'student'
            FROM bench_person p, generate_series(0, 2) k WHERE p.n >= 100
        ) e JOIN bench_course c ON c.n = e.course JOIN bench_person p ON p.n = e.person AND p.at = c.at
        GROUP BY c.id, p.id, c.institution_id
        """
    )


def _id(when: datetime, draw: random.Random) -> str:
    """Return a version 7 UUID: milliseconds, then chance."""
    milliseconds = int(when.timestamp() * 1000)
    bits = draw.getrandbits(74)
    return f"{(milliseconds << 80) | (7 << 76) | ((bits >> 62) << 64) | (2 << 62) | (bits & ((1 << 62) - 1)):032x}"


def _replies(draw: random.Random) -> int:
    """Return how many replies a thread has: most a few, some many; five on average."""
    return min(400, int(draw.paretovariate(1.45) * 1.45) if draw.random() > 0.08 else 0)


def _skeleton(owner: Any, other: Any, sizes: Sizes, draw: random.Random) -> None:
    """Copy who wrote what where and when; texts and the rest are joined to it by the server."""
    owner.execute(
        """
        CREATE UNLOGGED TABLE bench_thread (id uuid, number integer, course smallint, author integer, text smallint, tag text,
            created timestamptz, last timestamptz, replies integer, kind text, status text, visibility text, pseudonym boolean);
        CREATE UNLOGGED TABLE bench_post (id uuid, thread uuid, parent uuid, course smallint, author integer, text smallint,
            created timestamptz, by_staff boolean, votes smallint, endorsed boolean)
        """
    )
    now = datetime.now(UTC).replace(microsecond=0)
    people = [
        [person for person in range(100, sizes.users) if person % INSTITUTIONS == at] for at in range(INSTITUTIONS)
    ]
    left = sizes.posts
    remaining = sizes.threads
    with (
        owner.cursor().copy("COPY bench_thread FROM STDIN") as threads,
        other.cursor().copy("COPY bench_post FROM STDIN") as posts,
    ):
        for course, count in enumerate(sizes.of_courses()):
            crowd = people[course % INSTITUTIONS]
            staff = [
                100 + course * STAFF_OF_EACH_COURSE * INSTITUTIONS + INSTITUTIONS * place + course % INSTITUTIONS
                for place in range(STAFF_OF_EACH_COURSE)
            ]
            staff = [person for person in staff if person < sizes.users] or crowd[:1]
            for number in range(1, count + 1):
                hot = course == 0 and number == HOT_THREAD
                when = now - timedelta(days=700) * (1 - number / (count + 1)) + timedelta(seconds=draw.random())
                if hot:
                    when = now - timedelta(days=2)
                thread, author = _id(when, draw), draw.choice(crowd)
                # The mean is kept: what chance gave too much or too little of is evened out.
                replies = HOT_REPLIES if hot else min(_replies(draw), left)
                if not hot and replies and left > 5 * remaining and draw.random() < 0.5:
                    replies += 3
                left, remaining = left - replies, remaining - 1
                last, parent = when, None
                for reply in range(replies):
                    at = when + timedelta(minutes=1 + draw.expovariate(1 / 400) * (1 + reply))
                    at = min(at, now - timedelta(seconds=1))
                    by_staff = draw.random() < 0.25
                    made = _id(at, draw)
                    comment = parent is not None and not hot and draw.random() < 0.3
                    text = TEXTS - HOT_REPLIES + reply if hot else draw.randrange(TEXTS)
                    votes = 0 if draw.random() < 0.8 else draw.randint(1, 3)
                    posts.write_row((
                        made, thread, parent if comment else None, course, draw.choice(staff if by_staff else crowd), text,
                        at, by_staff, votes, not comment and draw.random() < 0.12,
                    ))  # fmt: skip
                    parent = parent if comment else made
                    last = max(last, at)
                kind = "question" if hot or draw.random() < 0.9 else draw.choice(("discussion", "announcement"))
                status = (
                    "open"
                    if not replies or kind != "question"
                    else draw.choices(("open", "answered", "resolved"), (1, 3, 4))[0]
                )
                visibility = "staff" if not hot and draw.random() < 0.03 else "course"
                threads.write_row((
                    thread, number, course, author, TEXTS - HOT_REPLIES - 1 if hot else draw.randrange(TEXTS),
                    draw.choice(TAGS), when, last, replies, kind, status, visibility, not hot and draw.random() < 0.1,
                ))  # fmt: skip
    other.commit()
    owner.execute("ANALYZE bench_thread, bench_post, bench_text, bench_person, bench_course")


def _drop_indexes(owner: Any, tables: Iterable[str]) -> list[str]:
    """Drop what can be built faster afterwards; return how it is built."""
    found = owner.execute(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i "
        "WHERE i.indrelid::regclass::text = ANY(%s) AND NOT i.indisunique",
        [list(tables)],
    ).fetchall()
    owner.execute(f"DROP INDEX {', '.join(name for name, _ in found)}")
    return [definition for _, definition in found]


_STATEMENTS = {
    "pseudonyms": """
        INSERT INTO forum_pseudonym (id, name, institution_id, user_id, thread_id)
        SELECT gen_random_uuid(), 'Keen Quokka ' || t.number % 900, c.institution_id, p.id, t.id
        FROM bench_thread t JOIN bench_course c ON c.n = t.course JOIN bench_person p ON p.n = t.author WHERE t.pseudonym""",
    "threads": """
        INSERT INTO forum_thread (id, anonymity, body, body_html, html_version, submission_key, created_at, vote_count,
            endorsement_count, number, title, kind, status, visibility, is_pinned, is_locked, reply_count, last_activity_at,
            reader_count, author_id, course_id, institution_id, pseudonym_id, same_count, moderation, moderation_reason)
        SELECT t.id, CASE WHEN t.pseudonym THEN 'classmates' ELSE 'named' END, x.body, x.html, {version}, gen_random_uuid(), t.created, 0, coalesce(e.many, 0), t.number, x.title,
            t.kind, t.status, t.visibility, false, false, t.replies, t.last, 0, p.id, c.id, c.institution_id, n.id, 0, 'shown', ''
        FROM bench_thread t JOIN bench_text x ON x.n = t.text JOIN bench_course c ON c.n = t.course
        JOIN bench_person p ON p.n = t.author LEFT JOIN forum_pseudonym n ON n.thread_id = t.id
        LEFT JOIN (SELECT thread, count(*) AS many FROM bench_post WHERE endorsed GROUP BY 1) e ON e.thread = t.id""",
    "posts": """
        INSERT INTO forum_post (id, anonymity, body, body_html, html_version, submission_key, created_at, vote_count,
            endorsement_count, is_by_staff, author_id, institution_id, parent_id, thread_id, moderation, moderation_reason)
        SELECT b.id, 'named', x.body, x.html, {version}, gen_random_uuid(), b.created, b.votes,
            b.endorsed::int, b.by_staff, p.id, c.institution_id, b.parent, b.thread, 'shown', ''
        FROM bench_post b JOIN bench_text x ON x.n = b.text JOIN bench_course c ON c.n = b.course
        JOIN bench_person p ON p.n = b.author""",
    "votes": """
        INSERT INTO forum_vote (id, created_at, institution_id, post_id, user_id)
        SELECT gen_random_uuid(), b.created, c.institution_id, b.id, v.id
        FROM bench_post b JOIN bench_course c ON c.n = b.course CROSS JOIN LATERAL generate_series(1, b.votes) k
        JOIN bench_person v ON v.n = 100 + c.at + {institutions} * ((b.author + b.text + 7 * k) % {crowd}) WHERE b.votes > 0""",
    "endorsements": """
        INSERT INTO forum_endorsement (id, role, created_at, endorser_id, institution_id, post_id)
        SELECT gen_random_uuid(), 'instructor', b.created, s.user_id, c.institution_id, b.id
        FROM bench_post b JOIN bench_course c ON c.n = b.course JOIN LATERAL (
            SELECT user_id FROM accounts_enrollment e WHERE e.course_id = c.id AND e.role = 'instructor' LIMIT 1) s ON true
        WHERE b.endorsed""",
    "tags": """
        INSERT INTO forum_threadtag (id, thread_id, tag_id, institution_id)
        SELECT gen_random_uuid(), t.id, g.id, c.institution_id FROM bench_thread t JOIN bench_course c ON c.n = t.course
        JOIN forum_tag g ON g.course_id = c.id AND g.slug = t.tag WHERE t.number % 10 < 7""",
    "who has read what": """
        INSERT INTO forum_threadread (id, read_at, is_counted, institution_id, thread_id, user_id)
        SELECT gen_random_uuid(), t.last, true, c.institution_id, t.id, p.id
        FROM bench_thread t JOIN bench_course c ON c.n = t.course JOIN bench_person p ON p.n = t.author
        UNION ALL SELECT gen_random_uuid(), t.last, true, c.institution_id, t.id, p.id
        FROM bench_thread t JOIN bench_course c ON c.n = t.course JOIN bench_person p ON p.n IN (0, 1)
        WHERE t.course = 0 AND t.number % 2 = 0;
        UPDATE forum_thread t SET reader_count = r.many
        FROM (SELECT thread_id, count(*) AS many FROM forum_threadread GROUP BY 1) r WHERE r.thread_id = t.id;
        UPDATE accounts_course c SET last_thread_number = t.last
        FROM (SELECT course_id, max(number) AS last FROM forum_thread GROUP BY 1) t WHERE t.course_id = c.id""",
    "who follows what, and was told": """
        INSERT INTO forum_follow (id, state, created_at, institution_id, thread_id, user_id)
        SELECT gen_random_uuid(), 'following', t.created, c.institution_id, t.id, p.id
        FROM bench_thread t JOIN bench_course c ON c.n = t.course JOIN bench_person p ON p.n = t.author;
        INSERT INTO forum_notification (id, kind, created_at, in_app, read_at, course_id, institution_id, post_id, thread_id, user_id)
        SELECT gen_random_uuid(), 'reply', b.created, true, CASE WHEN random() < 0.9 THEN b.created END, c.id, c.institution_id,
            b.id, t.id, p.id
        FROM bench_post b JOIN bench_thread t ON t.id = b.thread JOIN bench_course c ON c.n = t.course
        JOIN bench_person p ON p.n = t.author WHERE b.author <> t.author AND b.created > now() - interval '180 days'""",
    "what insights are due": """
        INSERT INTO forum_factsdue (id, institution_id, thread_id, created_at)
        SELECT gen_random_uuid(), institution_id, id, now() FROM forum_thread
        WHERE kind = 'question' AND last_activity_at > now() - interval '182 days'""",
    "words of threads": """
        INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
        SELECT gen_random_uuid(), c.institution_id, t.id, NULL, x.b || {course_word}
        FROM bench_thread t JOIN bench_text x ON x.n = t.text JOIN bench_course c ON c.n = t.course""",
    "words of posts": """
        INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
        SELECT gen_random_uuid(), c.institution_id, b.thread, b.id, x.c || {course_word}
        FROM bench_post b JOIN bench_text x ON x.n = b.text JOIN bench_course c ON c.n = b.course""",
}  # fmt: skip


def _vectors(owner: Any) -> None:
    """Give threads of the hot course vectors, out of a thousand random ones: what comparing costs doesn't hang on what they say."""
    import numpy as np

    from quokkaq.lib.embedding import local_embedder

    embedder = local_embedder()
    if embedder is None:
        return
    length = embedder.embed(["how long"]).shape[1]
    drawn = np.random.default_rng(SEED).standard_normal((1000, length))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    owner.execute("CREATE TEMPORARY TABLE drawn (n integer PRIMARY KEY, vector halfvec)")
    with owner.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO drawn VALUES (%s, %s::halfvec)",
            list(zip(itertools.count(), (str(vector.round(4).tolist()) for vector in drawn), strict=False)),
        )
    owner.execute(
        """
        INSERT INTO forum_threadvector (id, institution_id, thread_id, course_id, model, digest, made_from, of_title, of_all)
        SELECT gen_random_uuid(), c.institution_id, t.id, c.id, %s, '', t.created, d.vector, d.vector
        FROM bench_thread t JOIN bench_course c ON c.n = t.course JOIN drawn d ON d.n = t.number %% 1000 WHERE t.course = 0
        """,
        [embedder.name],
    )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1_000_000)
    asked = arguments.parse_args()
    with generated(Sizes(asked.threads)):
        print("ready")


if __name__ == "__main__":
    main()
