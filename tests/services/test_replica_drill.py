"""A real replica that is read from: walls stand there, who writes reads what they wrote, and without it all goes on."""

import time
import uuid
from collections.abc import Iterator

import pytest

from tests import clusters
from tests.clusters import Cluster
from tests.processes import wait_for
from tests.recovery import measured
from tests.serving import Browser, Load, Place, Web, get, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("connections")]

MAX_LAG = 3


@pytest.fixture(scope="module")
def replica(place: Place) -> Iterator[Cluster]:
    with clusters.folder() as home:
        made = Cluster(home, "replica").follow(place.cluster, log_statement="all")
        made.start()
        yield made
        made.thaw()
        made.stop("immediate")


@pytest.fixture(scope="module")
def site(place: Place, replica: Cluster) -> Iterator[Web]:
    with web(
        place.cluster, DATABASE_REPLICA_URL=replica.url("quokkaq", "quokkaq_web"), REPLICA_MAX_LAG_SECONDS=str(MAX_LAG),
        WEB_WORKERS="1",
    ) as server:  # fmt: skip
        yield server


def read(site: Web, path: str, cookie: str) -> tuple[str, str]:
    """Return a page and the id of its request, by which the replica's log can be searched."""
    number = f"replica-{uuid.uuid4().hex}"
    status, said = get(site.port, path, cookie, X_Request_ID=number)
    assert status == 200
    return said, number


def was_asked(replica: Cluster, number: str) -> bool:
    """Tell whether a request read rows there: looking how far the replica is doesn't count."""
    lines = replica.log.read_text(errors="replace").splitlines()
    return any(f"request_id={number}" in line and '"forum_searchentry"' in line for line in lines)


def reads_from_replica(site: Web, place: Place, replica: Cluster) -> bool:
    return was_asked(replica, read(site, "/c/cs-101/search/?q=empty", place.cookies["sam"])[1])


def test_a_search_is_read_there_below_the_same_walls_and_a_thread_is_not(
    site: Web, place: Place, replica: Cluster
) -> None:
    wait_for(lambda: reads_from_replica(site, place, replica), what="the replica to be read from")
    for name, own, other in (("sam", "at home?", "away?"), ("eve", "away?", "at home?")):
        page, number = read(site, "/c/cs-101/search/?q=empty", place.cookies[name])
        assert was_asked(replica, number)
        assert own in page
        assert other not in page
    _, number = read(site, f"/c/cs-101/{place.threads['home']}/", place.cookies["sam"])
    assert not was_asked(replica, number)
    # Nobody's rows but one institution's, whatever is asked, on the replica, too.
    with replica.connect("quokkaq", user="quokkaq_web") as nobody:
        assert nobody.execute("SELECT count(*) FROM forum_thread").fetchone() == (0,)


def test_who_writes_reads_what_they_wrote_from_a_paused_replica_and_others_soon(
    site: Web, place: Place, replica: Cluster
) -> None:
    wait_for(lambda: reads_from_replica(site, place, replica), what="the replica to be read from")
    word = f"zebra{uuid.uuid4().hex}"
    search = f"/c/cs-101/search/?q={word}"
    sam = Browser(lambda: site.port, place.cookies["sam"])
    replica.ask("SELECT pg_wal_replay_pause()")
    try:
        fields = {"body": f"A {word} did it.", "form_key": str(uuid.uuid4()), "anonymity": "named"}
        assert sam.ask("POST", f"/c/cs-101/{place.threads['home']}/reply/", fields)[0] == 302
        posted = time.monotonic()
        assert "#post-" in sam.ask("GET", search)[1]
        # On its own page it is there for everybody at once: threads are never read from the replica.
        assert word in read(site, f"/c/cs-101/{place.threads['home']}/", place.cookies["noor"])[0]
        wait_for(
            lambda: "#post-" in read(site, search, place.cookies["noor"])[0],
            seconds=MAX_LAG + 3,
            what="others to find it",
        )
        found = time.monotonic() - posted
        # By now the replica is too far behind for anybody, and is let go.
        assert not reads_from_replica(site, place, replica)
    finally:
        replica.ask("SELECT pg_wal_replay_resume()")
    wait_for(lambda: reads_from_replica(site, place, replica), what="the replica to be read from again")
    assert found <= MAX_LAG + 2
    measured(
        "connections", note="replica paused: the writer finds their own reply at once, others after the longest lag allowed",
        stale_for_others_seconds=found, max_lag_seconds=MAX_LAG,
    )  # fmt: skip


def test_a_replica_that_is_killed_costs_no_page(site: Web, place: Place, replica: Cluster) -> None:
    wait_for(lambda: reads_from_replica(site, place, replica), what="the replica to be read from")
    load = Load(lambda: site.port)
    for name in ("ada", "tim", "noor", "sam"):
        load.reader(place.cookies[name], "/c/cs-101/search/?q=empty", holds="at home?")
    with load.running():
        time.sleep(1.5)
        replica.kill()
        time.sleep(3)
        replica.start()
        time.sleep(4)
    assert not load.failures(), load.counts()
    assert not load.wrong, load.wrong[:2]
    measured("connections", note="replica killed under reads", failed=0, pages=load.counts()[200])
    wait_for(lambda: reads_from_replica(site, place, replica), what="the replica to be read from again")
