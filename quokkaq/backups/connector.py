"""django-dbbackup's connector for `pg_dump`, which hands the dump on while it is made, of one snapshot."""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, cast

from dbbackup.db.exceptions import CommandConnectorError
from dbbackup.db.postgresql import PgDumpBinaryConnector, parse_postgres_settings

_DATA = re.compile(r"^\d+; \d+ \d+ TABLE DATA public (\S+) ", re.M)
_BUFFER_BYTES = 1 << 20
_PROBE_SECONDS = 20


class Connector(PgDumpBinaryConnector):  # type: ignore[misc]
    """Adds `dumping`, for a database that is larger than the memory."""

    @contextmanager
    def dumping(self, snapshot: str) -> Iterator[IO[bytes]]:
        """Yield the dump (custom format, compressed) as it is made; raise `CommandConnectorError` if `pg_dump` fails.

        Args:
            snapshot: of `pg_export_snapshot()`, whose transaction is open until the block ends.
        """
        where, environment = parse_postgres_settings(self)
        program = [*shlex.split(self.dump_prefix or ""), *shlex.split(self.dump_cmd)]
        command = [
            *program, *shlex.split(where), "--format=custom", f"--compress={_compression(tuple(program))}",
            f"--snapshot={snapshot}", *shlex.split(self.dump_suffix or ""),
        ]  # fmt: skip
        with (
            tempfile.TemporaryFile() as said,
            _started(
                command, stdout=subprocess.PIPE, stderr=said, env={**os.environ, **self.dump_env, **environment}
            ) as process,
        ):
            yield cast("IO[bytes]", process.stdout)
            # Whoever read it to its end waits for the end of the program only.
            if process.wait():
                said.seek(0)
                raise CommandConnectorError(f"pg_dump failed: {_first_error(said.read())}")

    @contextmanager
    def contents(self) -> Iterator["Contents"]:
        """Yield what a dump, or its beginning, is written to, to learn what is in it."""
        with (
            tempfile.TemporaryFile() as listed,
            _started(
                [*shlex.split(self.restore_cmd), "--list"],
                stdin=subprocess.PIPE,
                stdout=listed,
                stderr=subprocess.DEVNULL,
            ) as process,
        ):
            yield Contents(process, listed)


class Contents:
    """`pg_restore --list` at work. It reads the list at the beginning of a dump; what comes after is dropped."""

    def __init__(self, process: "subprocess.Popen[bytes]", listed: IO[bytes]) -> None:
        self._process, self._listed, self._open = process, listed, True

    def write(self, piece: bytes) -> None:
        if self._open and self._process.stdin is not None:
            try:
                self._process.stdin.write(piece)
                self._process.stdin.flush()
            except BrokenPipeError:
                self._open = False

    def tables(self) -> set[str]:
        """Return the tables of `public` whose rows the dump holds; none when it isn't one that can be restored."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.wait():
            return set()
        self._listed.seek(0)
        return set(_DATA.findall(self._listed.read().decode(errors="replace")))


@cache
def _compression(program: tuple[str, ...]) -> str:
    """Return how `pg_dump` compresses: zstd, several times as fast as gzip for the same size, where it was built with it.

    It says so before it connects; the address leads nowhere.
    """
    probe = [*program, "--format=custom", "--compress=zstd:3", "--dbname=postgresql://nobody@/?host=/nonexistent"]
    with _started(probe, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            said = process.communicate(timeout=_PROBE_SECONDS)[1]
        except subprocess.TimeoutExpired:
            said = b""
    return "zstd:3" if b"connection to server" in said else "6"


@contextmanager
def _started(command: list[str], **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    try:
        process = subprocess.Popen(command, bufsize=_BUFFER_BYTES, **streams)
    except FileNotFoundError as error:
        raise CommandConnectorError(
            f"The program {os.path.basename(command[0])} is missing. Set PG_DUMP and PG_RESTORE."
        ) from error
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _first_error(said: bytes) -> str:
    """Return the first line `pg_dump` complained in. It names tables and roles, and holds no rows."""
    lines = [line for line in said.decode(errors="replace").splitlines() if "error:" in line]
    return lines[0][:300] if lines else "it said nothing"
