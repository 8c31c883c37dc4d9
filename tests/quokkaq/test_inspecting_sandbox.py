"""The sandbox, for real: code in the child tries to get out, and the same code outside it succeeds."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import pytest

from quokkaq import checks
from quokkaq.lib import sandbox
from quokkaq.lib.sandbox import Crashed, Overran

only_linux = pytest.mark.skipif(not sandbox.cuts_network(), reason="this system has no seccomp")
MB = 1024 * 1024


def run(
    code: str, tmp_path: Path, *arguments: str, data: bytes = b"", writable: Path | None = None, **limits: Any
) -> bytes:
    script = tmp_path / "script.py"
    script.write_text(code)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        settings = {"seconds": 10.0, "memory": 256 * MB, "output_limit": MB} | limits
        return sandbox.run(script, list(arguments), stdin=file, writable=writable, **settings)


# Each tries one thing and says `did` or the name of the error.
TRIES = {
    "connect": "import socket; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2)",
    "udp": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(sys.argv[1])))",
    "unix": "import socket; socket.socket(socket.AF_UNIX)",
    "raw": "import ctypes; c = ctypes.CDLL(None, use_errno=True); n = c.syscall(41 if os.uname().machine == 'x86_64' else 198, 2, 1, 0)\n"
    "    if n < 0: raise OSError(ctypes.get_errno(), 'no')",
    "process": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "fork": "pid = os.fork()\n    if pid == 0: os._exit(0)",
    "exec": "os.execv('/bin/echo', ['echo', json.dumps('did')])",
    "thread": "import threading; threading.Thread(target=print).start()",
    "create": "open(sys.argv[2] + '/created', 'w')",
    "append": "open(sys.argv[2] + '/victim', 'a').write('x')",
    "delete": "os.unlink(sys.argv[2] + '/victim')",
    "rename": "os.rename(sys.argv[2] + '/victim', sys.argv[2] + '/other')",
    "link": "os.symlink('/etc/passwd', sys.argv[2] + '/link')",
    "folder": "os.mkdir(sys.argv[2] + '/folder')",
    "mode": "os.chmod(sys.argv[2] + '/victim', 0o777)",
    "shorten": "os.truncate(sys.argv[2] + '/victim', 0)",
    "kill": "os.kill(int(sys.argv[3]), 0)",
    "more memory": "import resource; resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
}


@only_linux
@pytest.mark.parametrize("what", TRIES)
def test_code_in_the_child_gets_nowhere(what: str, tmp_path: Path) -> None:
    code = f"import os, sys, json\ntry:\n    {TRIES[what]}\n    said = 'did'\nexcept (OSError, RuntimeError, ValueError) as error:\n    said = type(error).__name__\nprint(json.dumps(said))\n"
    folder = tmp_path / "folder of others"
    folder.mkdir()
    (folder / "victim").write_text("mine")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = str(server.getsockname()[1])
        arguments = [port, str(folder), str(os.getpid())]
        said = json.loads(run(code, tmp_path, *arguments))
        assert said in {"PermissionError", "RuntimeError", "BlockingIOError", "ValueError"}
        with pytest.raises(TimeoutError):
            server.accept()
        assert sorted(path.name for path in folder.iterdir()) == ["victim"]
        assert (folder / "victim").read_text() == "mine"
        # The control: outside the sandbox each of them works.
        ran = subprocess.run([sys.executable, str(tmp_path / "script.py"), *arguments], capture_output=True, check=True)
        assert b'"did"' in ran.stdout or b"did" in ran.stdout


def test_the_child_has_no_secrets_and_reads_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    code = "import os, sys, json; print(json.dumps([sorted(os.environ), sys.stdin.read(), os.getcwd(), sys.argv[1:]]))"
    names, read, folder, arguments = json.loads(run(code, tmp_path, "a", "b", data=b"the file"))
    assert set(names) <= {"LC_CTYPE"}
    assert (read, folder, arguments) == ("the file", "/", ["a", "b"])


def test_memory_time_and_output_end(tmp_path: Path) -> None:
    code = "try:\n    bytearray(300 * 1024**2)\n    print('grew')\nexcept MemoryError:\n    print('refused')"
    assert run(code, tmp_path).strip() == b"refused"
    assert run(code, tmp_path, memory=600 * MB).strip() == b"grew"
    for endless in ("while True: pass", "import time; time.sleep(60)", "import os, time; os.close(1); time.sleep(60)"):
        began = time.monotonic()
        with pytest.raises(Overran):
            run(endless, tmp_path, seconds=1)
        assert time.monotonic() - began < 6
    with pytest.raises(Crashed):
        run("print('x' * 2000)", tmp_path, output_limit=1000)
    with pytest.raises(Crashed):
        run("raise SystemExit(3)", tmp_path)
    with pytest.raises(Crashed):
        run("import ctypes; ctypes.string_at(0)", tmp_path)


def test_it_writes_the_one_file_it_is_given_and_not_without_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"what was there before")
    code = "import os, sys; os.write(int(sys.argv[-1]), b'made'); print('done')"
    assert run(code, tmp_path, "x", writable=out).strip() == b"done"
    assert out.read_bytes() == b"made"
    code = "import os, sys\nfor _ in range(100): os.write(int(sys.argv[-1]), bytes(100_000))"
    with pytest.raises(Crashed):
        run(code, tmp_path, writable=out, output_limit=300_000)
    assert out.stat().st_size <= 300_000


def test_materials_are_read_in_the_same_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_answers.parsing import read_file

    seen: list[str] = []
    real = sandbox.run

    def watched(script: Path, arguments: list[str], *, stdin: IO[bytes], **limits: Any) -> bytes:
        seen.append(script.name)
        return real(script, arguments, stdin=stdin, **limits)

    monkeypatch.setattr(sandbox, "run", watched)
    file = tempfile.TemporaryFile()  # noqa: SIM115 (gone with the test)
    file.write(b"# Pointers\n\nThey point.\n")
    assert read_file(file, "markdown").text.startswith("# Pointers")
    assert seen == ["child.py"]


def test_a_system_that_cannot_cut_the_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "cuts_network", lambda: False)
    assert [warning.id for warning in checks.check_files_are_scanned(None)] == ["quokkaq.W005", "quokkaq.W006"]
    monkeypatch.setattr(sandbox, "cuts_network", lambda: True)
    assert [warning.id for warning in checks.check_files_are_scanned(None)] == ["quokkaq.W005"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_sound_for_each_machine(machine: str) -> None:
    """Every jump lands on an instruction, every way ends in a verdict, and each forbidden call is refused."""
    lines = sandbox._filter(machine)
    column = 0 if machine == "x86_64" else 1

    def verdict(number: int, arguments: tuple[int, ...] = (0,) * 6, arch: int | None = None) -> int:
        data = {0: number, 4: sandbox._AUDIT_ARCH[machine] if arch is None else arch}
        data |= {16 + 8 * index: value for index, value in enumerate(arguments)}
        at = held = 0
        while True:
            code, yes, no, constant = lines[at]
            at += 1
            if code == 0x20:
                held = data[constant]
            elif code == 0x06:
                return constant
            else:
                holds = {0x15: held == constant, 0x35: held >= constant, 0x45: bool(held & constant)}[code]
                at += yes if holds else no

    for numbers in sandbox._FORBIDDEN.values():
        number = numbers[column]
        if number is not None:
            assert verdict(number) == 0x00050001
    assert verdict(0, arch=0x40000003) == 0x80000000  # 32-bit calls on a 64-bit machine
    for number, argument in sandbox._OPEN[machine]:
        flags = [0] * 6
        assert verdict(number, tuple(flags)) == 0x7FFF0000
        flags[argument] = os.O_WRONLY | os.O_CREAT
        assert verdict(number, tuple(flags)) == 0x00050001
    for number in sandbox._KILL[machine]:
        assert verdict(number, (os.getpid(), 9, 0, 0, 0, 0)) == 0x7FFF0000
        assert verdict(number, (os.getpid() + 1, 9, 0, 0, 0, 0)) == 0x00050001
    assert verdict(sandbox._PRLIMIT[machine]) == 0x7FFF0000
    assert verdict(sandbox._PRLIMIT[machine], (0, 9, 0x1000, 0, 0, 0)) == 0x00050001
    assert verdict(0 if machine == "x86_64" else 63) == 0x7FFF0000
