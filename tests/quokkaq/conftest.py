"""What the tests of all routes go by."""

import pytest

from tests.factories import World


@pytest.fixture
def places(world: World) -> dict[str, object]:
    """Return an object for every parameter a route can have."""
    from tests.quokkaq.test_route_policies import make_places

    return make_places(world)
