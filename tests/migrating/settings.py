"""QuokkaQ's settings, with this app."""

from quokkaq.settings import *  # noqa: F403 (all of them, with a few changed)
from quokkaq.settings import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.migrating"]
