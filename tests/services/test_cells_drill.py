"""Institutions divided over two databases: each cell serves its own people the pages they had, and nobody of the other."""

import difflib
import re

import pytest

from tests.clusters import Cluster, variables
from tests.serving import Place, get, rows, web

pytestmark = [pytest.mark.drill, pytest.mark.xdist_group("load")]

CELLS = {"cell_home": "home", "cell_away": "away"}
# Of each page what is made anew for every answer, how long ago things were, and for how long an answer has been waited for.
FRESH = re.compile(
    r'name="csrfmiddlewaretoken" value="[^"]*"|"X-CSRFToken": ?"[^"]*"|name="form_key" value="[^"]*"|nonce="[^"]*"'
    r'|\?cursor=[^"]*|\d+ min ago|just now|<p class="progress-line">.*?</p>'
)
PAGES = {
    "sam": ("/courses/", "/c/cs-101/", "/c/cs-101/{home}/", "/c/cs-101/search/?q=list", "/c/cs-101/search/suggest/?q=lis", "/inbox/",
            "/c/cs-101/ask/", "/c/cs-101/activity/", "/c/cs-101/materials/", "/me/"),
    "ada": ("/c/cs-101/", "/c/cs-101/{home}/", "/c/cs-101/queue/", "/c/cs-101/insights/", "/c/cs-101/course/roster/", "/c/cs-101/course/audit/"),
    "eve": ("/courses/", "/c/cs-101/", "/c/cs-101/{away}/", "/c/cs-101/search/?q=list", "/c/cs-101/queue/", "/inbox/"),
}  # fmt: skip
LIVES = {"sam": "cell_home", "ada": "cell_home", "eve": "cell_away"}


def divide(cluster: Cluster, name: str, institution: str) -> None:
    """Make a database in which no row of any other institution is left."""
    from quokkaq import row_security

    cluster.copy(name)
    with cluster.connect(name) as owner:
        owner.execute("SET session_replication_role = replica")
        cursor = owner.cursor()
        tables = row_security.tables(cursor)
        kept = "(SELECT id FROM accounts_institution WHERE slug = %s)"
        for table, columns in tables.items():
            if "institution_id" in columns:
                owner.execute(f'DELETE FROM "{table}" WHERE institution_id <> {kept}', [institution])
        owner.execute("DELETE FROM accounts_institution WHERE slug <> %s", [institution])
        for table, rule in row_security.FOLLOWS.items():
            if table in tables:
                owner.execute(f'DELETE FROM "{table}" WHERE NOT ({rule})')


def served(cluster: Cluster, place: Place, database: str) -> dict[tuple[str, str], tuple[int, str]]:
    """Return status and page of what everybody asks for, from a server on one database."""
    found = {}
    with web(cluster, None, **variables(cluster, database)) as server:
        for person, paths in PAGES.items():
            for path in paths:
                status, body = get(server.port, path.format(**place.threads), place.cookies[person])
                found[person, path] = status, FRESH.sub("", body)
    return found


@pytest.fixture(scope="module")
def divided(place: Place) -> tuple[Cluster, Place]:
    for name, institution in CELLS.items():
        divide(place.cluster, name, institution)
    return place.cluster, place


def test_each_cell_serves_its_own_people_the_same_pages_and_nobody_else(divided: tuple[Cluster, Place]) -> None:
    cluster, place = divided
    together = served(cluster, place, "quokkaq")
    assert {status for status, _ in together.values()} == {200}
    for cell in CELLS:
        alone = served(cluster, place, cell)
        for (person, path), (status, body) in alone.items():
            if LIVES[person] == cell:
                before, now = together[person, path][1].splitlines(), body.splitlines()
                changes = "\n".join(difflib.unified_diff(before, now, lineterm="", n=0))
                assert (status, changes) == (200, ""), f"{person} sees another {path} in {cell}:\n{changes}"
            else:
                assert status == 302, f"{person} is let into {cell}"


def test_nothing_of_the_others_is_left_in_a_cell(divided: tuple[Cluster, Place]) -> None:
    cluster, _ = divided
    for cell, institution in CELLS.items():
        with cluster.connect(cell) as owner:
            assert owner.execute("SELECT array_agg(slug) FROM accounts_institution").fetchone() == ([institution],)
            emails = {row[0] for row in owner.execute("SELECT email FROM accounts_user").fetchall()}
        assert ("eve@example.edu" in emails) == (institution == "away")
        assert ("sam@example.edu" in emails) == (institution == "home")
    assert len(rows(cluster, "SELECT slug FROM accounts_institution WHERE slug IN ('home', 'away')")) == 2
