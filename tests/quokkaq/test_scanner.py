"""The virus scanner, for real: what it finds, and that nothing counts as clean when it is down."""

import gzip
import io
import signal
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quokkaq.lib import scanner
from quokkaq.lib.scanner import ScannerDown, ping, scan
from tests.conftest import needed
from tests.services.clamd import EICAR, MAX_STREAM, SIGNATURE, Clamd, clamd


@pytest.fixture
def running(settings: Any) -> Iterator[Clamd]:
    needed("clamd")  # fails where no skip is allowed
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="clamd") as folder, clamd(Path(folder)) as server:
        settings.CLAMD_URL = server.url
        yield server


def test_a_virus_is_named_and_everything_else_passes(running: Clamd) -> None:
    assert ping()
    assert scan([EICAR]).startswith(SIGNATURE)
    # In pieces that cut the signature, with empty ones between.
    assert scan([EICAR[:10], b"", EICAR[10:]]).startswith(SIGNATURE)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes/a.txt", EICAR)
    assert scan([packed.getvalue()]).startswith(SIGNATURE)
    assert scan([b"An honest question about pointers.\n" * 1000]) == ""
    assert scan([b"x" * (3 * 1024 * 1024)]) == ""
    assert scan([]) == ""


def test_what_is_beyond_the_limits_is_not_clean(running: Clamd) -> None:
    assert scan(b"y" * 100_000 for _ in range(MAX_STREAM // 100_000 + 20)).startswith("Heuristics.Limits.Exceeded")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.txt", f"line {number}\n" * 100_000)
    assert scan([packed.getvalue()]).startswith("Heuristics.Limits.Exceeded")
    # One entry beyond the limit is cut by clamd without a word: `inspect` refuses such archives before.
    assert scan([gzip.compress(bytes(64 * 1024 * 1024))]).startswith("Heuristics.Limits.Exceeded")


@pytest.mark.clocked
def test_a_hung_or_dead_scanner_is_down_and_calls_nothing_clean(
    running: Clamd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "READ_SECONDS", 1.0)
    running.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ScannerDown):
        scan([b"clean"])
    assert not ping()
    assert time.monotonic() - began < 5
    running.process.send_signal(signal.SIGCONT)
    assert scan([b"clean"]) == ""
    running.process.kill()
    running.process.wait()
    with pytest.raises(ScannerDown):
        scan([b"clean"])
    assert not ping()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"stream: OK\0", ""),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", "Win.Test.EICAR_HDB-1"),
        (b"INSTREAM size limit exceeded. ERROR\0", scanner.TOO_LARGE),
        (b"stream: Can't allocate memory ERROR\0", None),
        (b"stream: OK FOUND OK\0", None),
        (b"", None),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", None),
        (b"O" * 10_000, None),
    ],
)
def test_only_the_word_for_clean_is_clean(settings: Any, answer: bytes, expected: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.CLAMD_URL = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received = b""
                while not received.endswith(bytes(4)):
                    received += connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        if expected is None:
            with pytest.raises(ScannerDown):
                scan([b"file"])
        else:
            assert scan([b"file"]) == expected
        thread.join()


@pytest.mark.parametrize(
    "url", ["", "http://x", "tcp://", "tcp://127.0.0.1:1", "unix:/no/such/socket", "tcp://127.0.0.1:x"]
)
def test_no_scanner_is_a_scanner_that_is_down(settings: Any, url: str) -> None:
    settings.CLAMD_URL = url
    assert not ping()
    with pytest.raises(ScannerDown):
        scan([b"file"])
