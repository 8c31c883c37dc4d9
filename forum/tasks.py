"""The forum's work in the background."""

from procrastinate.contrib.django import app

from forum import actions


@app.periodic(cron="* * * * *")
@app.task(name="forum.count_readers", queue="upkeep", queueing_lock="count_readers")
def count_readers(timestamp: int) -> None:
    """Bring the reader counts of threads up to date."""
    actions.count_readers()
