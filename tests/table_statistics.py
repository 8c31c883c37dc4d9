"""Statistics of tables, for tests that look at plans."""

from django.apps import apps
from django.db import connection


def analyze() -> None:
    """Give the database statistics of our own tables.

    Those of the catalogues that databases share are left out: their lock would be held, and waited for, across the processes
    that tests run in.
    """
    tables = [model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(sorted(set(tables)))}")
