"""How long the insights, the staff queue, the lists of admin and one's own points take in a large course.

    python -m tests.benchmarks.insights [--threads 1000000]

In the hot course of a generated forum (`tests.benchmarks.forum_data`), as the web role. Whole pages are measured through
Django's test client, so with middleware and templates, but without a network. CPU is that of this process; what the database
took is the sum of its statements.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.benchmarks.forum_data import HOT, INSTRUCTOR, OPERATOR, STUDENT, Sizes, email, generated


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1_000_000)
    arguments.add_argument("--runs", type=int, default=5)
    wanted = arguments.parse_args()
    with generated(Sizes(wanted.threads)):
        from django.test.utils import setup_test_environment

        setup_test_environment()
        browsers = {person: signed_in(email(person)) for person in (STUDENT, INSTRUCTOR, OPERATOR)}
        become_web_role()
        for line in measure(browsers, wanted.runs):
            print(line, flush=True)


def signed_in(address: str) -> Any:
    """Return a client with a session of somebody; an operator has entered the institution of the hot course."""
    from django.test import Client

    from accounts.models import Course, User
    from accounts.signing_in import SECOND_FACTOR
    from quokkaq.lib import tenancy
    from tests import factories

    with tenancy.scope(tenancy.EVERY):
        user = User.objects.get(email=address)
        client: Client = factories.browser(user, Course.objects.get(slug=HOT).institution)
        session = client.session
        session[SECOND_FACTOR] = str(user.pk)
        session.save()
    return client


def become_web_role() -> None:
    """Work as the web role from now on, below the walls between institutions."""
    from django.conf import settings
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL
    connection.settings_dict["USER"] = settings.DATABASE_WEB_ROLE


def measure(browsers: dict[int, Any], runs: int) -> Iterator[str]:
    """Yield a line for each page: the middle of `runs`, after one to warm up."""
    from django.core.cache import cache
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    pages: dict[str, tuple[int, str]] = {
        f"insights over {days} days": (INSTRUCTOR, f"/c/{HOT}/insights/?days={days}") for days in (7, 30, 90)
    }
    pages["staff queue"] = (INSTRUCTOR, f"/c/{HOT}/queue/")
    pages["queue, unassigned"] = (INSTRUCTOR, f"/c/{HOT}/queue/?who=unassigned")
    for model, searches in (
        ("thread", ("", "?p=200", "?q=%2377", "?q=mapping+attribute", "?is_locked__exact=1", "?deleted_at__isempty=0", "?moderation__exact=pending")),
        ("post", ("", "?q=%2377", "?q=mapping+attribute", "?moderation__exact=pending")),
    ):  # fmt: skip
        pages |= {
            f"admin {model}s {more}": (OPERATOR, reverse(f"admin:forum_{model}_changelist") + more) for more in searches
        }
    users = reverse("admin:accounts_user_changelist")
    pages |= {f"admin users {more}": (OPERATOR, users + more) for more in ("", "?q=person77")}
    pages["one's points"] = (STUDENT, reverse("forum:activity", args=[HOT]))
    for name, (person, url) in pages.items():

        def call(client: Any = browsers[person], url: str = url) -> Any:
            cache.clear()
            return client.get(url)

        status = call().status_code
        walls, cpus = zip(*(_timed(call) for _ in range(runs)), strict=True)
        with CaptureQueriesContext(connection) as captured:
            call()
        times = sorted((1000 * float(query["time"]), query["sql"]) for query in captured.captured_queries)
        slowest, sql = times[-1] if times else (0.0, "")
        yield (
            f"{name}: {status}, wall {statistics.median(walls):.0f} ms, CPU {statistics.median(cpus):.0f} ms, "
            f"{len(times)} queries in {sum(one for one, _ in times):.0f} ms, slowest {slowest:.0f} ms: {sql[:90]!r}"
        )


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


if __name__ == "__main__":
    main()
