"""How PostgreSQL finds what the hot pages ask for, in a filled course, as the web server's role: by an index, never all of it.

Times hang on the machine, plans on rows and statistics. So every statement of a page is explained as it was sent, and a
condition that no index serves any more fails here, before a large course is slow.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Course, Role, User
from forum.models import Post, Thread
from forum.search import ranking, similar_threads
from forum.views.lists import SORTS, Address
from quokkaq.lib import keyset, tenancy
from tests import factories
from tests.factories import World
from tests.table_statistics import analyze

pytestmark = pytest.mark.django_db

# Tables that grow with what people write. Reading one from end to end is what this is about.
LARGE = {
    "forum_thread", "forum_post", "forum_searchentry", "forum_threadread", "forum_threadtag", "forum_vote",
    "forum_follow", "forum_notification", "forum_endorsement",
}  # fmt: skip
COURSES, THREADS, POSTS = 8, 600, 2  # threads of each course, posts of each thread
# More than that isn't sorted while a page waits.
SORTED = 300

_FILL = """
    INSERT INTO accounts_course (id, code, name, term, slug, description, status, last_thread_number, created_at, institution_id,
        anonymity_policy, points_hidden, posting_policy)
    SELECT gen_random_uuid(), 'F ' || n, 'Full ' || n, '', 'full-' || n, '', 'active', {threads}, now(), %(home)s, 'all', false, 'open'
    FROM generate_series(1, {courses}) n;
    INSERT INTO forum_tag (id, slug, name, course_id, institution_id)
    SELECT gen_random_uuid(), 'exam', 'Exam', id, institution_id FROM accounts_course WHERE slug LIKE 'full-%%';
    INSERT INTO forum_thread (id, anonymity, body, body_html, html_version, submission_key, created_at, vote_count,
        endorsement_count, number, title, kind, status, visibility, is_pinned, is_locked, reply_count, last_activity_at,
        reader_count, author_id, course_id, institution_id, same_count, moderation, moderation_reason)
    SELECT gen_random_uuid(), 'named', repeat('Why is it so? ', 20), '<p>Why?</p>', 1, gen_random_uuid(), at, n %% 7 / 5,
        (n %% 9 = 0)::int, n, 'Question ' || n || ' on words', CASE WHEN n %% 10 = 0 THEN 'discussion' ELSE 'question' END,
        (ARRAY['open', 'answered', 'resolved', 'resolved'])[1 + n %% 4], CASE WHEN n %% 40 = 0 THEN 'staff' ELSE 'course' END,
        false, false, {posts}, at + n %% 50 * interval '1 hour', 0, (ARRAY[%(sam)s, %(noor)s, %(ada)s]::uuid[])[1 + (n > 50)::int + (n > 550)::int],
        c.id, %(home)s, 0, 'shown', ''
    FROM accounts_course c, generate_series(1, {threads}) n, LATERAL (SELECT now() - n * interval '3 hours' AS at) t
    WHERE c.slug LIKE 'full-%%';
    INSERT INTO forum_post (id, anonymity, body, body_html, html_version, submission_key, created_at, vote_count,
        endorsement_count, is_by_staff, author_id, institution_id, thread_id, moderation, moderation_reason)
    SELECT gen_random_uuid(), 'named', repeat('Because. ', 20), '<p>Because.</p>', 1, gen_random_uuid(),
        t.created_at + k * interval '1 hour', 0, 0, false, (ARRAY[%(sam)s, %(noor)s, %(ada)s]::uuid[])[1 + (t.number + k) %% 3],
        t.institution_id, t.id, 'shown', ''
    FROM forum_thread t, generate_series(1, {posts}) k;
    INSERT INTO forum_threadtag (id, thread_id, tag_id, institution_id)
    SELECT gen_random_uuid(), t.id, g.id, t.institution_id FROM forum_thread t JOIN forum_tag g ON g.course_id = t.course_id
    WHERE t.number %% 8 = 0;
    INSERT INTO forum_threadread (id, read_at, is_counted, institution_id, thread_id, user_id)
    SELECT gen_random_uuid(), t.last_activity_at, true, t.institution_id, t.id, u FROM forum_thread t,
        unnest(ARRAY[%(sam)s, %(noor)s, %(ada)s]::uuid[]) u WHERE t.number %% 2 = 0;
    INSERT INTO forum_follow (id, state, created_at, institution_id, thread_id, user_id)
    SELECT gen_random_uuid(), 'following', t.created_at, t.institution_id, t.id, u FROM forum_thread t,
        unnest(ARRAY[%(noor)s, %(ada)s]::uuid[]) u WHERE t.number %% 3 = 0;
    INSERT INTO forum_vote (id, created_at, institution_id, thread_id, user_id)
    SELECT gen_random_uuid(), t.created_at, t.institution_id, t.id, u FROM forum_thread t,
        unnest(ARRAY[%(noor)s, %(ada)s]::uuid[]) u WHERE t.number %% 4 = 0;
    INSERT INTO forum_endorsement (id, role, created_at, endorser_id, institution_id, post_id)
    SELECT gen_random_uuid(), 'instructor', p.created_at, %(ada)s, p.institution_id, p.id
    FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id WHERE t.number %% 4 = 0;
    INSERT INTO forum_notification (id, kind, created_at, in_app, read_at, course_id, institution_id, post_id, thread_id, user_id)
    SELECT gen_random_uuid(), 'reply', p.created_at, true, CASE WHEN t.number > 30 THEN p.created_at END, t.course_id, t.institution_id,
        p.id, t.id, t.author_id FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id
        JOIN accounts_course c ON c.id = t.course_id WHERE c.slug = 'full-1';
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    SELECT gen_random_uuid(), t.institution_id, t.id, NULL,
        setweight(to_tsvector('english', t.title || ' rare' || t.number), 'A') || to_tsvector('english', t.body)
        || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')]) FROM forum_thread t;
    INSERT INTO forum_searchentry (id, institution_id, thread_id, post_id, vector)
    SELECT gen_random_uuid(), t.institution_id, t.id, p.id, to_tsvector('english', p.body || ' on words rare' || t.number)
        || array_to_tsvector(ARRAY['crs:' || replace(t.course_id::text, '-', '')])
    FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id;
"""


@dataclass
class Plan:
    """What a statement would do: each node's type, table or index, and the rows expected."""

    sql: str
    nodes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    @property
    def faults(self) -> list[str]:
        found = [f"reads all of {node['Relation Name']}" for node in self.nodes if _reads_all(node)]
        return found + [f"sorts {node['Plan Rows']} rows" for node in self.nodes if _sorts_much(node)]


def _reads_all(node: dict[str, Any]) -> bool:
    return node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE


def _sorts_much(node: dict[str, Any]) -> bool:
    # What comes out of a sort below a limit is few; what goes in is what it costs.
    return node["Node Type"] == "Sort" and any(below["Plan Rows"] > SORTED for below in node["Plans"])


def explain(sql: str) -> Plan:
    """Return the plan of a statement, as of the role and institution in force."""
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT JSON) " + sql)
        said = cursor.fetchone()[0]
    plan = Plan(sql)
    waiting = [(json.loads(said) if isinstance(said, str) else said)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        plan.nodes.append(node)
        waiting += node.get("Plans", [])
    return plan


@dataclass
class Full:
    """Courses full of threads, and who is in the first one."""

    world: World
    slug: str = "full-1"

    def client(self, name: str) -> Client:
        return factories.browser(self.world.user(name))

    def plans(self, name: str, address: str, data: dict[str, str] | None = None, *, post: bool = False) -> list[Plan]:
        """Return the plans of everything a page asks, the page being there."""
        client = self.client(name)
        with CaptureQueriesContext(connection) as asked:
            response = client.post(address, data) if post else client.get(address, data)
        assert response.status_code == 200, response.status_code
        # A course's word statistics are made once in ten minutes, from the newest threads.
        return self.explained([query["sql"] for query in asked.captured_queries if "ts_stat" not in query["sql"]])

    def explained(self, statements: list[str]) -> list[Plan]:
        with tenancy.scope(self.world.institution.pk, self.world.user("noor").pk):
            # What is prepared is sent together, and explained one by one.
            single = [one for sql in statements for one in (sql.split("; ") if "EXECUTE" in sql else [sql])]
            return [
                explain(sql)
                for sql in single
                if sql.startswith("EXECUTE") or (sql.startswith("SELECT") and any(name in sql for name in LARGE))
            ]


@pytest.fixture(scope="module")
def full(kept: Path) -> Full:
    world = factories.make_world()
    people = {name: world.user(name).pk for name in ("sam", "noor", "ada")}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            _FILL.format(courses=COURSES, threads=THREADS, posts=POSTS), {**people, "home": world.institution.pk}
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
        # As a server with its data in memory or on SSD is set. Of so small a table reading all is often the cheapest: here it is
        # done only where no index serves, which is what would be slow in a large one.
        cursor.execute("SET LOCAL random_page_cost = 1.1; SET LOCAL enable_seqscan = off")
    analyze()
    course = Course.objects.get(slug="full-1")
    for name, role in (("sam", Role.STUDENT), ("noor", Role.STUDENT), ("ada", Role.INSTRUCTOR)):
        factories.enroll(world.user(name), course, role)
    world.course = course
    return Full(world)


LISTS = {
    "": "thread_by_activity",
    "sort=new": "thread_by_age",
    "sort=top": "thread_by_votes",
    "show=unanswered": "thread_by_status",
    "show=resolved": "thread_by_status",
    "show=unread": "thread_read_once",
    "show=endorsed": "thread_by_activity",
    "show=private": "thread_",
    "show=mine": "thread_by_author",
    "show=following": "thread_by_activity",
    "tag=exam": "thread_tag_once",
    "kind=discussion": "thread_by_activity",
    "q=rare7": "search_entry_words",
}


@pytest.mark.parametrize("name", ["noor", "ada"])
@pytest.mark.parametrize("asked", LISTS)
def test_the_thread_list_walks_an_index(full: Full, asked: str, name: str) -> None:
    plans = full.plans(name, f"/c/full-1/?{asked}")
    assert not [(plan.faults, plan.sql[:300]) for plan in plans if plan.faults]
    assert any(index.startswith(LISTS[asked]) for plan in plans for index in plan.indexes)


@pytest.mark.parametrize("sort", SORTS)
def test_a_deep_page_of_the_list_enters_the_index_where_it_begins(full: Full, sort: str) -> None:
    order = SORTS[sort][1]
    threads = Thread.objects.filter(course=full.world.course).order_by(f"-{order}", "-pk")
    key, pk = threads.values_list(order, "pk")[THREADS // 2]
    cursor = keyset._encode(key, pk, f"{full.world.course.pk}:{Address(sort=sort).query()}")
    plans = full.plans("noor", f"/c/full-1/?sort={sort}", {"cursor": cursor, "sort": sort})
    assert not [(plan.faults, plan.sql[:300]) for plan in plans if plan.faults]
    # Both parts of the cursor bound the walk: with many ties the key alone would let it begin far before.
    conditions = [
        node["Index Cond"]
        for plan in plans
        for node in plan.nodes
        if node.get("Index Name", "").startswith("thread_by")
    ]
    assert any("ROW" in condition and "id" in condition for condition in conditions), conditions


@pytest.mark.parametrize("name", ["noor", "ada"])
@pytest.mark.parametrize(
    ("address", "index"),
    [
        ("/c/full-1/7/", "thread_number_unique"),
        ("/c/full-1/7/", "post_by_thread"),
        ("/inbox/count/", "notification_unread"),
        ("/c/full-1/search/?q=rare7", "search_entry_words"),
        ("/c/full-1/search/?q=rare7 rare8", "search_entry_words"),
        ("/c/full-1/search/suggest/?q=rare7", "search_"),  # of either of the two indexes on words
    ],
)
def test_a_page_finds_its_rows_by_the_index_that_is_meant_for_it(
    full: Full, address: str, index: str, name: str
) -> None:
    plans = full.plans(name, address)
    assert not [(plan.faults, plan.sql[:300]) for plan in plans if plan.faults]
    assert any(used.startswith(index) for plan in plans for used in plan.indexes)


@pytest.mark.parametrize("name", ["sam", "ada"])
def test_the_inbox_walks_what_somebody_was_told(full: Full, name: str) -> None:
    plans = full.plans(name, "/inbox/")
    assert not [(plan.faults, plan.sql[:300]) for plan in plans if plan.faults]
    assert "notification_inbox" in {used for plan in plans for used in plan.indexes}


def test_a_search_for_a_word_that_stands_everywhere_reads_a_bounded_part(full: Full) -> None:
    plans = full.plans("noor", "/c/full-1/search/?q=words")
    pools = [plan for plan in plans if "AS pool" in plan.sql and "post_id IS NULL" in plan.sql]
    assert pools
    assert not [plan.sql for plan in pools if any(_reads_all(node) for node in plan.nodes)]
    # However many fit, so many rows are ranked at most.
    limits = [node["Plan Rows"] for plan in pools for node in plan.nodes if node["Node Type"] == "Limit"]
    assert max(limits) <= ranking.THREAD_POOL


def test_similar_threads_are_found_by_index(full: Full) -> None:
    member = full.world.member("noor", full.world.course)
    with tenancy.scope(full.world.institution.pk), CaptureQueriesContext(connection) as asked:
        assert similar_threads(
            member, title="Question rare9 on words", body="Why is it so? And why not otherwise, ever?"
        )
    plans = full.explained([query["sql"] for query in asked.captured_queries if "ts_stat" not in query["sql"]])
    assert not [(plan.faults, plan.sql[:300]) for plan in plans if any(_reads_all(node) for node in plan.nodes)]


def test_the_staff_queue_reads_no_table_whole(full: Full) -> None:
    plans = full.plans("ada", "/c/full-1/queue/")
    assert not [plan.sql[:300] for plan in plans if any(_reads_all(node) for node in plan.nodes)]


def test_a_statement_that_no_index_serves_is_noticed(full: Full) -> None:
    """The checks themselves: what they are there for, they see."""
    member = full.world.member("noor", full.world.course)
    assert isinstance(member.user, User)
    rows = Post.objects.filter(body__contains="never").values("pk")
    (plan,) = full.explained([str(rows.query).replace("%never%", "'%never%'")])
    assert plan.faults == ["reads all of forum_post"]
