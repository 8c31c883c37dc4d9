"""QuokkaQ's settings, with this app."""

from quokkaq.settings import *  # noqa: F403
from quokkaq.settings import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.migrating"]
