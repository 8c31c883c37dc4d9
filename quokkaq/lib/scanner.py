"""The virus scanner: ClamAV's clamd, over TCP or a Unix socket.

Source of the protocol: clamd(8), commands PING and INSTREAM; a session ends with each command.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

from django.conf import settings

CONNECT_SECONDS = 2.0
# Between two signs of life: clamd says nothing while it scans.
READ_SECONDS = 30.0
PING_SECONDS = 0.8
MAX_PIECE = 1024 * 1024
MAX_REPLY = 4096
TOO_LARGE = "Heuristics.Limits.Exceeded.StreamMaxLength"


class ScannerDown(Exception):
    """The scanner can't be reached, doesn't answer in time, or not in words we know: nothing may be released."""


def scan(chunks: Iterable[bytes]) -> str:
    """Return the name of the signature that matches a file, or nothing when it is clean.

    What is beyond the scanner's limits isn't clean: its name is then one of `Heuristics.Limits.Exceeded`.

    Args:
        chunks: the file, in pieces of any size.

    Raises `ScannerDown`.
    """
    connection = _connect(READ_SECONDS)
    with closing(connection):
        try:
            connection.sendall(b"zINSTREAM\0")
            for piece in _pieces(chunks):
                connection.sendall(len(piece).to_bytes(4, "big") + piece)
            connection.sendall(bytes(4))
        except (BrokenPipeError, ConnectionResetError):
            # It hangs up at its size limit, and has said so before.
            pass
        except OSError as error:
            raise ScannerDown(str(error)) from error
        return _verdict(_reply(connection))


def ping() -> bool:
    """Say whether the scanner answers within a second or so."""
    try:
        with closing(_connect(PING_SECONDS)) as connection:
            connection.sendall(b"zPING\0")
            return _reply(connection) == "PONG"
    except (ScannerDown, OSError):
        return False


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces that aren't empty (an empty one ends the stream) and not too long."""
    for chunk in chunks:
        for at in range(0, len(chunk), MAX_PIECE):
            yield chunk[at : at + MAX_PIECE]


def _connect(seconds: float) -> socket.socket:
    url = urlsplit(settings.CLAMD_URL)
    try:
        if url.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.settimeout(min(CONNECT_SECONDS, seconds))
                connection.connect(url.path)
            except OSError:
                connection.close()
                raise
        elif url.scheme == "tcp" and url.hostname:
            connection = socket.create_connection((url.hostname, url.port or 3310), min(CONNECT_SECONDS, seconds))
        else:
            raise ScannerDown("CLAMD_URL is neither tcp://HOST:3310 nor unix:/PATH.")
    except (OSError, ValueError) as error:
        raise ScannerDown(str(error)) from error
    connection.settimeout(seconds)
    return connection


def _reply(connection: socket.socket) -> str:
    """Return the answer, which ends with a NUL or when the scanner hangs up."""
    answer = b""
    try:
        while not answer.endswith(b"\0") and len(answer) < MAX_REPLY:
            piece = connection.recv(MAX_REPLY)
            if not piece:
                break
            answer += piece
    except OSError as error:
        raise ScannerDown(str(error)) from error
    return answer.rstrip(b"\0\n").decode("utf-8", "replace")


def _verdict(answer: str) -> str:
    """Return what an answer to INSTREAM says: only “stream: OK” is clean."""
    if answer == "stream: OK":
        return ""
    if answer.startswith("INSTREAM size limit exceeded"):
        return TOO_LARGE
    if answer.startswith("stream: ") and answer.endswith(" FOUND"):
        return answer.removeprefix("stream: ").removesuffix(" FOUND")
    raise ScannerDown(f"The scanner answered {answer[:100]!r}.")
