"""Encrypting for somebody's public key, and decrypting where the private key is, with the program `gpg`.

Bytes go through pipes and files, so that a backup may be larger than the memory; the passphrase goes through a pipe of its own.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from django.conf import settings

if TYPE_CHECKING:
    from quokkaq.backups.reading import Reader

# Whose key it is was decided by who set BACKUP_GPG_RECIPIENT.
_GPG = ("gpg", "--batch", "--yes", "--no-tty", "--quiet", "--trust-model", "always")
_CODES = re.compile(r"^\[GNUPG:\] (\w+)(?: (\S+))?", re.M)


class GpgError(Exception):
    """What can't be encrypted or decrypted, and why."""


def check_recipient(recipient: str) -> set[str]:
    """Return the ids (16 hex digits) of the keys that `recipient` can be encrypted for; raise `GpgError` when there is none."""
    done = _run(["--with-colons", "--list-keys", "--", recipient])
    if done.returncode:
        raise GpgError("There is no public key of BACKUP_GPG_RECIPIENT in GNUPGHOME. Import it: gpg --import KEY.asc")
    records = [line.split(":") for line in done.stdout.decode(errors="replace").splitlines()]
    keys = [record for record in records if record[0] in {"pub", "sub"}]
    usable = {key[4] for key in keys if key[1] not in {"e", "r", "d", "i"} and "e" in key[11]}
    if usable:
        return usable
    said = {"e": "has expired", "r": "was revoked", "d": "is disabled"}
    state = next((key[1] for key in keys if key[1] in said), "")
    when = next((key[6] for key in keys if key[1] == "e" and key[6].isdigit()), "")
    day = f" on {datetime.fromtimestamp(int(when), UTC):%Y-%m-%d}" if when and state == "e" else ""
    raise GpgError(
        f"The key of BACKUP_GPG_RECIPIENT {said.get(state, 'can only sign')}{day}."
        " Extend it and import it again, or name another."
    )


@contextmanager
def encrypting(recipient: str, target: Path, *, compress: bool = False) -> Iterator[IO[bytes]]:
    """Yield a pipe; what is written to it lies encrypted in `target` when the block has ended well.

    Raises `GpgError` when it doesn't. `compress`: for what isn't compressed yet.
    """
    method = "zlib" if compress else "none"
    command = [*_GPG, "--compress-algo", method, "--recipient", recipient, "--output", str(target), "--encrypt"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    given, said = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stderr)
    try:
        with said:
            broken = False
            try:
                with given:
                    yield given
            except BrokenPipeError:
                broken = True
            said.read()
        if process.wait() or broken:
            check_recipient(recipient)
            raise GpgError(f"gpg couldn't encrypt (exit code {process.returncode}). Is there room on the disk?")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def decrypt(source: "Reader", target: IO[bytes] | int) -> None:
    """Decrypt from a file that is read once to one that has a descriptor; raise `GpgError` when not all of it is genuine."""
    reading, writing = os.pipe()
    passphrase = os.fdopen(writing, "wb")
    try:
        passphrase.write(settings.BACKUP_GPG_PASSPHRASE.encode() + b"\n")
        passphrase.close()
        command = [
            *_GPG, "--status-fd", "2", "--pinentry-mode", "loopback", "--passphrase-fd", str(reading), "--decrypt",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=target, stderr=subprocess.PIPE, pass_fds=[reading]
        )
    finally:
        os.close(reading)
    given, said = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stderr)
    try:
        # What breaks the pipe, its status says.
        with suppress(BrokenPipeError), given:
            while piece := source.read(1 << 20):
                given.write(piece)
        with said:
            status = dict(_CODES.findall(said.read().decode(errors="replace")))
        if process.wait() == 0 and "DECRYPTION_OKAY" in status:
            return
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if "BADMDC" in status or ("GOODMDC" not in status and "DECRYPTION_KEY" in status):
        raise GpgError("It is encrypted, and was changed or cut since.")
    if "ENC_TO" not in status:
        raise GpgError("It is no file that gpg encrypted.")
    if _run(["--list-secret-keys", "--", status["ENC_TO"]]).returncode:
        raise GpgError("Its private key isn't in GNUPGHOME. Import it: gpg --import PRIVATE-KEY.asc")
    raise GpgError("Its private key doesn't open. Set BACKUP_GPG_PASSPHRASE to its passphrase.")


def can_decrypt(recipient: str, folder: Path) -> bool:
    """Tell whether the private key is here and opens, by a try. `folder` takes a small file for a moment."""
    probe = folder / "probe.gpg"
    try:
        with encrypting(recipient, probe) as pipe:
            pipe.write(b"QuokkaQ")
        with probe.open("rb") as file, open(os.devnull, "wb") as nowhere:
            decrypt(file, nowhere)
    except GpgError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def key_ids(head: bytes) -> set[str]:
    """Return the ids of the keys that the beginning of an encrypted file says can open it; none for another file."""
    done = _run(["--list-only", "--list-packets"], given=head)
    return set(re.findall(r"^:pubkey enc packet: .* keyid ([0-9A-F]{16})$", done.stdout.decode(errors="replace"), re.M))


def _run(arguments: Sequence[str], given: bytes = b"") -> "subprocess.CompletedProcess[Any]":
    try:
        return subprocess.run([*_GPG, *arguments], input=given, capture_output=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise GpgError("The program gpg is missing. Install gnupg.") from error
