"""What people type, and who they are, is in no log line and no metric, whatever goes wrong with it in hand."""

import pytest
from django.conf import settings
from django.test import Client

from tests import canaries
from tests.canaries import Canaries, Heard, listening
from tests.factories import World
from tests.quokkaq.test_route_policies import ROUTES, Places


def check(planted: Canaries, heard: Heard) -> None:
    """Nothing is found in what is printed; nearly everything is in what would be printed without the filter."""
    assert heard.bare.failures + heard.json.failures + heard.pretty.failures == []
    for lines in (heard.json.lines, heard.pretty.lines):
        found = [(planted.where(cores), line) for line in lines if (cores := planted.found_in(line))]
        assert found == [], "\n".join(map(str, found[:20]))
    offered = planted.offered()
    missed = offered - planted.found_in(heard.bare.text)
    print(f"{len(planted.planted)} planted, {len(offered)} given to the log, {len(missed)} not seen without the filter")
    assert len(missed) <= 0.05 * len(offered), planted.where(missed)


def metrics() -> str:
    return Client().get("/metrics", headers={"Authorization": f"Bearer {settings.METRICS_TOKEN}"}).content.decode()


@pytest.mark.drill
def test_no_canary_comes_out_of_a_drive_through_everything(world: World, places: Places, loopback: None) -> None:
    with listening() as heard:
        planted = canaries.drive(world, places)
    assert len(planted.offered()) >= 500
    assert len(heard.json.lines) > 1000
    check(planted, heard)
    said = metrics()
    assert "django_http_requests_total_by_view_transport_method_total" in said
    assert planted.where(planted.found_in(said)) == []


@pytest.mark.drill
def test_no_canary_comes_out_as_it_is_shipped(world: World, places: Places, loopback: None) -> None:
    """The same at INFO, where less is said and by fewer."""
    with listening("INFO") as heard:
        planted = canaries.drive(world, places, people=("sam",), names=sorted(ROUTES)[::5])
    check(planted, heard)


SOME = ["accounts:sign-in", "forum:ask", "forum:list", "feed", "accounts:invitation", "forum:add-people", "lti:launch"]


def test_no_canary_comes_out_of_a_few_routes_and_every_kind_of_failure(world: World, places: Places) -> None:
    trip = canaries.Drive(world, places)
    with listening() as heard:
        trip.through_routes(talkative=False, people=("sam",), names=SOME)
        trip.through_routes(talkative=True, people=("tim",), names=SOME)
        canaries.say(trip.canaries, "a log call")
        trip.through_tasks()
        trip.through_mail()
    assert len(trip.canaries.planted) >= 500
    check(trip.canaries, heard)
    assert trip.canaries.where(trip.canaries.found_in(metrics())) == []
