"""What each process says of itself, every few seconds: with several, the one that answers can't ask the others."""

import threading
import time

import psutil

from quokkaq.lib.metrics import database
from quokkaq.lib.metrics.definitions import CPU_SECONDS, OPEN_FILES, RESIDENT_BYTES

EVERY_SECONDS = 5


class Process:
    """This process, as metrics see it. Its CPU is a counter, which goes on when a process is replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cpu_counted = 0.0
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Set its gauges."""
        with self._lock:
            process = psutil.Process()
            RESIDENT_BYTES.set(process.memory_info().rss)
            OPEN_FILES.set(process.num_fds())
            used = time.process_time()
            CPU_SECONDS.inc(by=max(0.0, used - self._cpu_counted))
            self._cpu_counted = used
            database.refresh()

    def keep_refreshing(self) -> None:
        """Set them from now on, in a thread. Call it once a process serves: threads don't survive a fork."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._refresh_forever, name="metrics-refresh", daemon=True)
            self._thread.start()

    def _refresh_forever(self) -> None:
        while True:
            self.refresh()
            time.sleep(EVERY_SECONDS)


this = Process()
