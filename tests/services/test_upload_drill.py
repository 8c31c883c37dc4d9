"""Kill the worker, or the web process, at every step a file takes: nothing stays that is neither attached nor purged."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.utils import timezone

from accounts import actions
from accounts.access import Member
from accounts.models import Purpose, Upload, UploadState
from quokkaq.lib.storage import store
from tests import factories
from tests.conftest import needed
from tests.processes import ROOT, environment, running_worker, wait_for, worker
from tests.services.clamd import clamd

pytestmark = [pytest.mark.drill, pytest.mark.django_db(transaction=True)]
QUICK = {"TASK_STALLED_AFTER_SECONDS": "1"}


def stored() -> set[str]:
    later = timezone.now() + timedelta(minutes=1)
    return {key for prefix in ("quarantine/", "files/") for key in store().listing(prefix, older_than=later)}


def everything_is_right() -> None:
    """Let time pass and the sweep run; then every stored file belongs to a clean upload, and every clean one is stored."""
    long_ago = timezone.now() - timedelta(days=9)
    Upload.objects.update(created_at=long_ago, state_at=long_ago)
    for key in stored():
        path = os.path.join(django_settings.MEDIA_ROOT, key)
        os.utime(path, (0, 0))
    actions.sweep_uploads()
    kept = set(Upload.objects.filter(state=UploadState.CLEAN).values_list("storage_key", flat=True))
    assert stored() == kept
    assert all(row.attached_at for row in Upload.objects.filter(state=UploadState.CLEAN))
    assert not Upload.objects.filter(state=UploadState.PENDING).exists()


@pytest.fixture
def shared_media(settings: Any, tmp_path: Any) -> dict[str, str]:
    """Files where other processes find them."""
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return {"MEDIA_ROOT": settings.MEDIA_ROOT, **QUICK}


def attach(by: Member, upload: Upload) -> None:
    with transaction.atomic():
        actions.attach_uploads(by=by, uploads=[upload.pk], purpose=Purpose.ATTACHMENT)


def kill_when(is_there: Callable[[], bool], setting: dict[str, str], what: str) -> None:
    process = worker(**setting)
    try:
        wait_for(is_there, seconds=60, what=what)
    finally:
        process.kill()
        process.wait()


def test_a_worker_killed_while_it_scans(shared_media: dict[str, str]) -> None:
    sam = factories.make_world().member("sam")
    needed("clamd")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    with clamd(folder) as running:
        setting = shared_media | {"CLAMD_URL": running.url}
        upload, unattached = factories.sent_file(sam), factories.sent_file(sam)
        attach(sam, upload)
        os.kill(running.process.pid, signal.SIGSTOP)
        kill_when(lambda: Upload.objects.filter(state=UploadState.SCANNING).exists(), setting, "a worker that scans")
        os.kill(running.process.pid, signal.SIGCONT)
        assert not any(key.startswith("files/") for key in stored())
        with running_worker(**setting):
            wait_for(
                lambda: Upload.objects.filter(state=UploadState.CLEAN).count() == 2, seconds=60, what="both checked"
            )
    everything_is_right()
    assert Upload.objects.get(pk=upload.pk).state == UploadState.CLEAN
    assert Upload.objects.get(pk=unattached.pk).state == UploadState.EXPIRED


def test_a_worker_killed_between_the_copy_and_the_row(shared_media: dict[str, str]) -> None:
    sam = factories.make_world().member("sam")
    upload = factories.sent_file(sam)
    attach(sam, upload)
    copied = f"files/{upload.pk}"
    connection.set_autocommit(False)
    try:
        with connection.cursor() as cursor:
            # The worker may mark it as being checked, and waits for this when it says that it is clean.
            wait = worker(**shared_media)
            try:
                wait_for(lambda: _locked_after(cursor, upload), seconds=60, what="the row")
                wait_for(lambda: store().head(copied) is not None, seconds=60, what="the copy")
                time.sleep(0.5)
            finally:
                wait.kill()
                wait.wait()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert Upload.objects.get().state in (UploadState.SCANNING, UploadState.CLEAN)
    with running_worker(**shared_media):
        wait_for(lambda: Upload.objects.get().state == UploadState.CLEAN, seconds=60, what="the check")
        time.sleep(1)
    everything_is_right()
    assert stored() == {copied}


def _locked_after(cursor: Any, upload: Upload) -> bool:
    """Lock the row as soon as it is being checked, in this transaction."""
    cursor.execute(
        "SELECT 1 FROM accounts_upload WHERE id = %s AND state = 'scanning' FOR UPDATE SKIP LOCKED", [upload.pk]
    )
    found = cursor.fetchone() is not None
    if not found:
        connection.rollback()
    return found


@pytest.mark.parametrize("step", ["announced", "half sent", "sent", "confirmed"])
def test_a_web_process_killed_on_the_way_in(shared_media: dict[str, str], step: str) -> None:
    """Do what a request does in a process of its own, and kill it after one of its steps."""
    world = factories.make_world()
    code = textwrap.dedent(f"""
        import io, os, signal, django
        django.setup()
        from accounts import actions
        from accounts.access import get_member
        from accounts.models import Purpose, User
        from quokkaq.lib.storage import disk, store
        member = get_member(User.objects.get(pk={str(world.user("sam").pk)!r}), "cs-101")
        die = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
        started = actions.start_upload(by=member.user, purpose=Purpose.ATTACHMENT, name="a.txt", size=5, member=member)
        if {step!r} == "announced": die()
        if {step!r} == "half sent": os.replace = die
        if {step!r} == "sent":
            put = disk.DiskStore.put
            disk.DiskStore.put = lambda *args, **kwargs: (put(*args, **kwargs), die())
        actions.receive_upload(by=member.user, upload=started.upload, file=io.BytesIO(b"Hello"))
        die()
    """)
    more = {"DJANGO_SETTINGS_MODULE": "quokkaq.settings", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment(**shared_media, **more), capture_output=True, check=False
    )
    assert ran.returncode == -9, ran.stderr.decode()[-2000:]
    assert Upload.objects.count() == 1
    everything_is_right()
    assert stored() == set()
