"""The operators' pages in Django admin."""

import logging

from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import ConnectorException

from accounts.admin_site import register_operators_page
from quokkaq import rehearsals
from quokkaq.overview import overview

log = logging.getLogger(__name__)


@require_safe
def operations(request: HttpRequest) -> HttpResponse:
    """The state of everything on one page."""
    context = {**admin.site.each_context(request), "title": "Operations", "now": overview()}
    return render(request, "admin/operations.html", context)


@require_POST
def retry_job(request: HttpRequest, number: int) -> HttpResponse:
    """Have a job that failed run again."""
    try:
        with transaction.atomic():
            get_object_or_404(ProcrastinateJob.objects.select_for_update(), pk=number, status="failed")
            app.job_manager.retry_job_by_id(number, timezone.now())
    except Http404:
        messages.error(request, f"Job {number} isn’t there any more, or isn’t one that failed.")
    except ConnectorException:
        messages.error(request, f"Job {number} can’t be tried again: one like it is waiting already.")
    else:
        log.info("an operator has a job tried again", extra={"job": number, "user_id": str(request.user.pk)})
        messages.success(request, f"Job {number} is tried again.")
    return redirect("admin:operations")


def register_pages() -> None:
    register_operators_page("operations/", operations, "operations")
    register_operators_page("operations/drills/", rehearsals.drills, "restore-drills")
    register_operators_page("operations/drills/<int:number>/", rehearsals.drill, "restore-drill")
    register_operators_page("operations/jobs/<int:number>/retry/", retry_job, "retry-job")
