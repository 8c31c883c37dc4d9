"""What goes wrong, when and for how long: a schedule made from a seed, and how each kind is done."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.crashes.system import System

HTTP_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HTTP_503 = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SMTP_421 = b"421 Busy\r\n"
JUMPS = (3600, -3600, 86400, -86400)
MEAN_GAP_SECONDS = 1.2


@dataclass(frozen=True)
class Fault:
    """`at` seconds after the batch begins, for `seconds`; `choice` picks the process or the variety."""

    number: int
    at: float
    kind: str
    seconds: float
    choice: int

    def __str__(self) -> str:
        return f"{self.number}. {self.kind} at {self.at:.2f} s for {self.seconds:.2f} s, variety {self.choice}"


# How often each kind comes, beside the others.
WEIGHTS = {
    "web_worker_kill": 9, "web_kill": 2, "task_worker_kill": 8, "database_kill": 5, "database_freeze": 5,
    "redis_kill": 6, "redis_freeze": 6, "s3_error": 7, "s3_hang": 4, "s3_cut": 4, "scanner_freeze": 4, "scanner_kill": 3,
    "model_error": 4, "model_hang": 3, "model_cut": 4, "mail_refused": 4, "mail_busy": 3, "mail_cut": 4,
    "disk_full_database": 3, "disk_full_temporary": 4, "clock_jump": 8,
}  # fmt: skip


def schedule(seed: int, count: int) -> list[Fault]:
    """Return the faults of a seed; the first ones are the same however many there are."""
    dice = Random(f"faults:{seed}")
    found, at = [], 0.0
    for number in range(1, count + 1):
        at += dice.expovariate(1 / MEAN_GAP_SECONDS)
        kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        found.append(Fault(number, at, kind, dice.uniform(0.1, 1.5), dice.randrange(1000)))
    return found


def skipped(system: System) -> dict[str, str]:
    """Return the kinds that can't be done on this machine, and why."""
    found = {}
    if system.database_disk is None:
        found["disk_full_database"] = "no file system may be mounted"
    if not system.temporary_is_small:
        found["disk_full_temporary"] = "no file system may be mounted"
    if "LD_PRELOAD" not in system.web.environ:
        found["clock_jump"] = "there is no C compiler"
    if system.scanner is None:
        found |= dict.fromkeys(("scanner_freeze", "scanner_kill"), "clamd isn't installed")
    return found


class Saboteur:
    """Does what a schedule says; two faults of one kind wait for each other, others overlap."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.done: list[Fault] = []
        self.left_out = skipped(system)
        self._locks = {kind: threading.Lock() for kind in WEIGHTS}
        self._database = threading.Lock()

    def run(self, faults: list[Fault]) -> None:
        """Do the faults of a batch at their moments, and return when the last one is over."""
        began, offset = time.monotonic(), faults[0].at if faults else 0.0
        threads = []
        for fault in faults:
            time.sleep(max(0.0, began + fault.at - offset - time.monotonic()))
            if fault.kind in self.left_out:
                continue
            thread = threading.Thread(target=self._do, args=[fault], daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(60)

    def _do(self, fault: Fault) -> None:
        act: Callable[[Fault], None] = getattr(self, fault.kind)
        with self._locks[fault.kind]:
            act(fault)
            self.done.append(fault)

    # Processes

    def web_worker_kill(self, fault: Fault) -> None:
        if children := self.system.web.children():
            with suppress(ProcessLookupError):
                os.kill(children[fault.choice % len(children)], signal.SIGKILL)

    def web_kill(self, fault: Fault) -> None:
        self.system.web.kill()

    def task_worker_kill(self, fault: Fault) -> None:
        self.system.workers[fault.choice % 2].kill()

    def database_kill(self, fault: Fault) -> None:
        with self._database:
            self.system.database_held = True
            with suppress(AssertionError):
                self.system.cluster.kill()
            time.sleep(fault.seconds / 3)
            self.system.database_held = False

    def database_freeze(self, fault: Fault) -> None:
        with self._database:
            self.system.cluster.freeze()
            time.sleep(fault.seconds)
            self.system.cluster.thaw()

    def redis_kill(self, fault: Fault) -> None:
        self._down(fault, self.system.redis.kill, self.system.redis)

    def redis_freeze(self, fault: Fault) -> None:
        self._freeze(fault, self.system.redis)

    def scanner_kill(self, fault: Fault) -> None:
        assert self.system.scanner is not None
        self._down(fault, self.system.scanner.kill, self.system.scanner)

    def scanner_freeze(self, fault: Fault) -> None:
        assert self.system.scanner is not None
        self._freeze(fault, self.system.scanner)

    @staticmethod
    def _down(fault: Fault, kill: Callable[[], None], service: object) -> None:
        service.held = True  # type: ignore[attr-defined]  # set at run time, or typed as its base
        kill()
        time.sleep(fault.seconds)
        service.held = False  # type: ignore[attr-defined]  # set at run time, or typed as its base

    @staticmethod
    def _freeze(fault: Fault, service: object) -> None:
        service.send(signal.SIGSTOP)  # type: ignore[attr-defined]  # set at run time, or typed as its base
        time.sleep(fault.seconds)
        service.send(signal.SIGCONT)  # type: ignore[attr-defined]  # set at run time, or typed as its base

    # What others serve

    def _tapped(self, name: str, fault: Fault, begin: str, *values: object) -> None:
        tap = self.system.taps[name]
        getattr(tap, begin)(*values)
        time.sleep(fault.seconds)
        tap.heal()

    def s3_error(self, fault: Fault) -> None:
        self._tapped("s3", fault, "answer", HTTP_500 if fault.choice % 2 else HTTP_503)

    def s3_hang(self, fault: Fault) -> None:
        self._tapped("s3", fault, "black_hole")

    def s3_cut(self, fault: Fault) -> None:
        self._tapped("s3", fault, "cut", fault.choice)

    def model_error(self, fault: Fault) -> None:
        self._tapped("model", fault, "answer", HTTP_500 if fault.choice % 2 else HTTP_503)

    def model_hang(self, fault: Fault) -> None:
        self._tapped("model", fault, "black_hole")

    def model_cut(self, fault: Fault) -> None:
        self._tapped("model", fault, "cut", 200 + fault.choice)

    def mail_refused(self, fault: Fault) -> None:
        self._tapped("mail", fault, "refuse")

    def mail_busy(self, fault: Fault) -> None:
        self._tapped("mail", fault, "answer", SMTP_421)

    def mail_cut(self, fault: Fault) -> None:
        # The server's replies to a mail are about a hundred bytes: it has taken some of those that are cut off.
        self._tapped("mail", fault, "cut", 10 + fault.choice % 110)

    # Disks and clocks

    def disk_full_database(self, fault: Fault) -> None:
        assert self.system.database_disk is not None
        self._fill(fault, self.system.database_disk / "ballast")

    def disk_full_temporary(self, fault: Fault) -> None:
        self._fill(fault, self.system.temporary / "ballast")

    @staticmethod
    def _fill(fault: Fault, ballast: Path) -> None:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            piece = bytes(1 << 20)
            while True:
                file.write(piece)
        time.sleep(fault.seconds)
        ballast.unlink(missing_ok=True)

    def clock_jump(self, fault: Fault) -> None:
        services = [self.system.web, *self.system.workers]
        service = services[fault.choice % 3]
        service.jump(JUMPS[fault.choice // 3 % len(JUMPS)])
        time.sleep(fault.seconds)
        service.jump(0)
