"""A cluster with QuokkaQ in it, which drills share: migrating takes longer than most of them."""

from collections.abc import Iterator

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests import clusters, serving


@pytest.fixture(scope="session")
def place(django_db_blocker: DjangoDbBlocker) -> Iterator[serving.Place]:
    """A running cluster of the server that ships, migrated, with people in two institutions."""
    with clusters.cluster() as cluster, django_db_blocker.unblock():
        serving.migrate(cluster)
        # For tests that are run on it by a process of their own.
        cluster.ask("CREATE DATABASE test_quokkaq TEMPLATE quokkaq")
        yield serving.furnish(cluster)
