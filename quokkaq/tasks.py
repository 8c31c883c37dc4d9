"""Tasks that keep the task engine itself healthy."""

from django.conf import settings
from procrastinate import JobContext
from procrastinate.contrib.django import app

from quokkaq.lib.jobs import running
from quokkaq.lib.request_id import working_on


@app.periodic(cron="* * * * * */5")
@app.task(name="quokkaq.rescue_stalled_jobs", queue="upkeep", queueing_lock="rescue_stalled_jobs", pass_context=True)
async def rescue_stalled_jobs(context: JobContext, timestamp: int) -> None:
    """Put jobs of workers that died (no heartbeat) back in the queue. Every task may therefore run twice, and must not mind."""
    manager = context.app.job_manager
    with working_on(None, route="quokkaq.rescue_stalled_jobs"):
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=settings.TASK_STALLED_AFTER_SECONDS):
            await manager.retry_job(job)


@app.periodic(cron="17 3 * * *")
@app.task(name="quokkaq.delete_old_jobs", queue="upkeep", queueing_lock="delete_old_jobs", pass_context=True)
async def delete_old_jobs(context: JobContext, timestamp: int) -> None:
    """Forget jobs that ended well, after a day; failed ones stay 30 days for whoever looks into them."""
    manager = context.app.job_manager
    with running("quokkaq.delete_old_jobs"):
        await manager.delete_old_jobs(nb_hours=24, include_failed=False)
        await manager.delete_old_jobs(nb_hours=24 * 30, include_failed=True)
