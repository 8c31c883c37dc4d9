"""Work in the background: files, mails, lists of members, copies of people's data, and what nobody needs any more."""

import logging
import uuid

from procrastinate import JobContext, RetryStrategy
from procrastinate.contrib.django import app

from accounts import actions
from accounts.actions.account_mail import ACCOUNT_MAIL_TASK, RESET_MAIL_TASK, SIGN_UP_MAIL_TASK
from accounts.lti.http import PlatformUnreachable
from accounts.lti.memberships import fetch_members
from accounts.models import LtiSync, SyncState
from quokkaq.lib import ratelimit, tenancy
from quokkaq.lib.inspecting import Rejection
from quokkaq.lib.jobs import for_every_institution, in_queue, of_institution, running
from quokkaq.lib.scanner import ScannerDown
from quokkaq.lib.storage import StoreError

log = logging.getLogger(__name__)
CHECK_ATTEMPTS = 6
EXPORT_ATTEMPTS = 4
# While the scanner or the store is away, files wait: after these attempts the sweep has them tried again.
_RETRY = RetryStrategy(max_attempts=CHECK_ATTEMPTS, exponential_wait=3)


@app.task(name=actions.CHECK_TASK, queue="uploads", retry=_RETRY, pass_context=True)
@of_institution
def check_upload(context: JobContext, upload_id: str) -> None:
    """Look into one file. One that makes the check itself fail, again and again, is refused."""
    try:
        actions.check_upload(uuid.UUID(upload_id))
    except (ScannerDown, StoreError):
        log.warning("a file can't be checked now", extra={"upload_id": upload_id}, exc_info=True)
        raise
    except Exception:
        if context.job.attempts + 1 >= CHECK_ATTEMPTS:
            actions.reject_upload(uuid.UUID(upload_id), Rejection.DAMAGED)
        raise


@app.periodic(cron="*/5 * * * *")
@app.task(name="accounts.sweep_uploads", **in_queue("upkeep"), queueing_lock="sweep_uploads")
@for_every_institution
def sweep_uploads(timestamp: int) -> None:
    """Put right what was cut off, and delete what nobody attached."""
    actions.sweep_uploads()


# Tried again after 5 s, 25 s, 2 min, 10 min, 52 min, 4 h and 22 h.
INVITATION_ATTEMPTS = 8


@app.task(
    name=actions.SEND_INVITATION_TASK,
    queue="mail",
    retry=RetryStrategy(max_attempts=INVITATION_ATTEMPTS, exponential_wait=5),
    pass_context=True,
)
@of_institution
def send_invitation(context: JobContext, invitation_id: str) -> None:
    """Mail one invitation; after the last attempt its course's staff are shown that it can't be delivered."""
    key = uuid.UUID(invitation_id)
    try:
        actions.send_invitation(key)
    except actions.InvitationNotSentError as error:
        if context.job.attempts + 1 >= INVITATION_ATTEMPTS:
            actions.give_up_invitation(key, error)
        raise


@app.periodic(cron="23 3 * * *")
@app.task(name="accounts.forget_rosters", **in_queue("sweeping"), queueing_lock="forget_rosters")
@for_every_institution
def forget_rosters(timestamp: int) -> None:
    """Forget what roster files said a week ago."""
    actions.forget_rosters()


@app.periodic(cron="*/10 * * * *")
@app.task(name="accounts.sweep_rate_limits", **in_queue("upkeep"), queueing_lock="sweep_rate_limits")
def sweep_rate_limits(timestamp: int) -> None:
    """Delete counts whose window has passed."""
    with running("accounts.sweep_rate_limits"):
        ratelimit.sweep()


@app.task(name=actions.FETCH_TASK, queue="lti")
@of_institution
def fetch_lti_members(sync_id: str) -> None:
    """Fetch a platform's list of members. It is asked once: who waits for it sees why it failed, and asks again."""
    syncs = LtiSync.objects.select_related("context__deployment__platform")
    sync = syncs.filter(pk=sync_id, state=SyncState.FETCHING).first()
    if sync is None:
        return
    key = actions.current_lti_key(sync.institution_id)
    try:
        found = fetch_members(
            sync.context, key, progress=lambda count: actions.note_lti_progress(uuid.UUID(sync_id), count)
        )
    except PlatformUnreachable as problem:
        log.warning("a platform's members can't be fetched", extra={"sync_id": sync_id, "code": str(problem)})
        actions.finish_lti_fetch(sync.pk, None, problem=str(problem))
        return
    actions.finish_lti_fetch(sync.pk, found)


@app.periodic(cron="*/10 * * * *")
@app.task(name="accounts.sweep_lti", **in_queue("upkeep"), queueing_lock="sweep_lti")
@for_every_institution
def sweep_lti(timestamp: int) -> None:
    """Forget launches and lists whose time is over."""
    actions.sweep_lti()


@app.task(
    name=actions.EXPORT_TASK,
    queue="exports",
    retry=RetryStrategy(max_attempts=EXPORT_ATTEMPTS, exponential_wait=5),
    pass_context=True,
)
@of_institution
def build_data_export(context: JobContext, export_id: str) -> None:
    """Put a copy of somebody's data together. Tried again after 5, 25, 125 seconds; then their page says that it failed."""
    try:
        actions.build_export(uuid.UUID(export_id))
    except Exception as error:
        if context.job.attempts + 1 >= EXPORT_ATTEMPTS:
            actions.fail_export(uuid.UUID(export_id), error)
        raise


@app.task(name=actions.EXPORT_MAIL_TASK, queue="mail", retry=RetryStrategy(max_attempts=6, exponential_wait=5))
@of_institution
def mail_data_export(export_id: str) -> None:
    """Tell somebody that their copy is ready."""
    actions.mail_export(uuid.UUID(export_id))


@app.task(name=actions.ERASURE_MAIL_TASK, queue="mail", retry=RetryStrategy(max_attempts=6, exponential_wait=5))
@of_institution
def mail_erasure(erasure_id: str) -> None:
    """Tell somebody that their account will go."""
    actions.mail_erasure(uuid.UUID(erasure_id))


@app.task(name=actions.ERASE_TASK, queue="sweeping", retry=RetryStrategy(max_attempts=10, exponential_wait=3))
@of_institution
def erase_person(erasure_id: str) -> None:
    """Erase somebody whose time has come."""
    actions.erase_person(uuid.UUID(erasure_id))


@app.periodic(cron="*/5 * * * *")
@app.task(name="accounts.sweep_privacy", **in_queue("upkeep"), queueing_lock="sweep_privacy")
@for_every_institution
def sweep_privacy(timestamp: int) -> None:
    """Take up copies and erasures that are due or were cut off, and let go of copies a week old."""
    actions.sweep_exports()
    actions.enqueue_due_erasures()


@app.periodic(cron="23 * * * *")
@app.task(name="accounts.keep_to_retention", **in_queue("sweeping"), queueing_lock="keep_to_retention")
def keep_to_retention(timestamp: int) -> None:
    """Let go of what is older than `settings.RETENTION_DAYS` allows, institution by institution."""
    with running("accounts.keep_to_retention"):
        for institution_id in (*tenancy.institutions(), None):
            with tenancy.scope(institution_id):
                actions.forget_old(institution_id)


# Tried again after 5 s, 25 s, 2 min, 10 min: later nobody waits for the link any more.
_MAIL_RETRY = RetryStrategy(max_attempts=5, exponential_wait=5)


@app.task(name=ACCOUNT_MAIL_TASK, queue="account_mail", retry=_MAIL_RETRY)
def send_account_mail(
    kind: str,
    person_id: str,
    address_id: int | None = None,
    sealed_to: str = "",
    request_id: str | None = None,
) -> None:
    """Mail somebody about their account; where they belong is found by their key, which may be nobody's."""
    with running("accounts.send_account_mail", request_id):
        actions.send_account_mail(kind, uuid.UUID(person_id), address_id=address_id, sealed_to=sealed_to)


@app.task(name=RESET_MAIL_TASK, queue="account_mail", retry=_MAIL_RETRY)
def send_reset_mail(sealed_to: str, request_id: str | None = None) -> None:
    """Mail somebody who forgot their password."""
    with running(RESET_MAIL_TASK, request_id):
        actions.send_reset_mail(sealed_to)


@app.task(name=SIGN_UP_MAIL_TASK, queue="account_mail", retry=_MAIL_RETRY)
def send_sign_up_mail(sealed_to: str, request_id: str | None = None) -> None:
    """Mail somebody who wants an account."""
    with running("accounts.send_sign_up_mail", request_id):
        actions.send_sign_up_mail(sealed_to)
