"""Run what was enqueued, in this process, as a worker would."""

from types import SimpleNamespace

from django.db import connection
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob


def run_tasks(*names: str, even_later: bool = False) -> list[str]:
    """Run waiting jobs, and those they enqueue, in order; return the names of their tasks.

    Args:
        names: tasks to run; all when none is given.
        even_later: also those that are scheduled for later.
    """
    done: list[str] = []
    while job := _next(names, even_later):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE procrastinate_jobs SET status = 'doing', attempts = 1 WHERE id = %s", [job.pk])
        task = app.tasks[job.task_name]
        context = [SimpleNamespace(job=SimpleNamespace(attempts=job.attempts))] if task.pass_context else []
        task.func(*context, **job.args)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", [job.pk])
        done.append(job.task_name)
    return done


def _next(names: tuple[str, ...], even_later: bool) -> ProcrastinateJob | None:
    jobs = ProcrastinateJob.objects.filter(status="todo").order_by("id")
    if names:
        jobs = jobs.filter(task_name__in=names)
    if not even_later:
        jobs = jobs.extra(where=["scheduled_at IS NULL OR scheduled_at <= now()"])
    return jobs.first()
