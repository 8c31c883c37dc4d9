"""Files through a real clamd: what it knows is refused, and without it nothing is released."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts import actions
from accounts.access import Member
from accounts.models import UploadState
from quokkaq.lib import scanner
from quokkaq.lib.health import watching
from quokkaq.lib.inspecting import Rejection
from quokkaq.lib.scanner import ScannerDown
from tests import factories
from tests.conftest import needed
from tests.hostile_files import packed
from tests.services.clamd import EICAR, Clamd, clamd


@pytest.fixture
def running(settings: Any) -> Iterator[Clamd]:
    needed("clamd")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        with clamd(folder) as found:
            settings.CLAMD_URL = found.url
            settings.SCAN_UPLOADS = True
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_file_with_a_virus_is_refused_and_one_without_released(running: Clamd, sam: Member) -> None:
    infected = factories.checked_file(sam, "work.zip", packed([("eicar.txt", EICAR)]))
    assert (infected.state, infected.rejection) == (UploadState.REJECTED, Rejection.INFECTED)
    assert factories.checked_file(sam).state == UploadState.CLEAN


def test_a_stopped_scanner_releases_nothing_and_is_said(
    running: Clamd, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ready() -> tuple[int, str, str]:
        watching.forget()
        response = Client().get("/api/v1/ready")
        return response.status_code, response.json()["status"], response.json()["checks"]["scanner"]

    assert ready()[2] == "up"
    monkeypatch.setattr(scanner, "READ_SECONDS", 0.5)
    upload = factories.sent_file(sam)
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert ready() == (200, "degraded", "down")
        with pytest.raises(ScannerDown):
            actions.check_upload(upload.pk)
        assert time.monotonic() - began < 8
    finally:
        os.kill(running.process.pid, signal.SIGCONT)
    upload.refresh_from_db()
    assert upload.state == UploadState.SCANNING
    monkeypatch.undo()
    actions.check_upload(upload.pk)
    upload.refresh_from_db()
    assert upload.state == UploadState.CLEAN
