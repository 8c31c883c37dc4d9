"""A real clamd on a Unix socket in a folder of its own, with one signature made by hand: EICAR's test file."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("clamd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# In halves, so that no scanner takes this file for it. Source: EICAR, “Anti-Malware Testfile”.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "Eicar-Test"
MAX_STREAM = 4 * 1024 * 1024


@dataclass
class Clamd:
    """A running scanner; `url` is what CLAMD_URL takes."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def clamd(folder: Path) -> Iterator[Clamd]:
    """Run a scanner until the block ends. `folder` has a short path: a socket's may have about 100 characters."""
    if PROGRAM is None:
        raise RuntimeError("clamd isn't installed")
    (folder / "db").mkdir()
    # type 0 (any file), at its very start
    (folder / "db" / "own.ndb").write_text(f"{SIGNATURE}:0:0:{EICAR.hex()}\n")
    (folder / "clamd.conf").write_text(
        f"Foreground yes\nLocalSocket {folder}/socket\nDatabaseDirectory {folder}/db\nTemporaryDirectory {folder}\n"
        f"StreamMaxLength {MAX_STREAM}\nMaxScanSize 8M\nMaxFileSize 4M\nAlertExceedsMax yes\nMaxThreads 2\n"
        "ConcurrentDatabaseReload no\nSelfCheck 0\n"
    )
    process = subprocess.Popen(
        [PROGRAM, "--config-file", str(folder / "clamd.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not (folder / "socket").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("clamd doesn't start")
            time.sleep(0.05)
        yield Clamd(f"unix:{folder}/socket", process)
    finally:
        process.kill()
        process.wait()
