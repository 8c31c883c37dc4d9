"""Run a program on hostile bytes: without network, secrets or rights, and only for so long, so much memory, so much output.

A child starts as `python -I -B sandbox.py LIMITS SCRIPT ARGUMENT…`: this file, which imports nothing of ours, gives up what
the script doesn't need and then runs it. On Linux (x86_64, arm64) a seccomp filter cuts the network, other processes and
opening files for writing; elsewhere only the limits hold, and `cuts_network` says so.
"""

import ctypes
import json
import os
import platform
import resource
import runpy
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

# Open files of a child.
MAX_FILES = 64


class Overran(Exception):
    """The child wasn't ready in time."""


class Crashed(Exception):
    """The child died, or said more than it may."""


def run(
    script: Path,
    arguments: list[str],
    *,
    stdin: IO[bytes],
    seconds: float,
    memory: int,
    output_limit: int,
    writable: Path | None = None,
) -> bytes:
    """Run a Python script in a child process and return what it wrote to its output.

    Args:
        script: the file to run; it finds its own modules.
        arguments: of the script.
        stdin: a real file, which the child reads from its start.
        seconds: after so long the child is killed, with whatever it started; also its limit of processor time.
        memory: bytes of address space.
        output_limit: bytes the child may say, and write to `writable`.
        writable: the one file it may write. It is emptied and open: the script gets its descriptor as last argument.

    Raises `Overran` and `Crashed`. Believe nothing of what comes back: a hostile file may have taken the child over.
    """
    deadline = time.monotonic() + seconds
    out = os.open(writable, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600) if writable else None
    limits = {"cpu": max(int(seconds + 0.999), 1), "memory": memory, "file_size": output_limit if writable else 0}
    stdin.seek(0)
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-B", __file__, json.dumps(limits), str(script), *arguments]
            + ([] if out is None else [str(out)]),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
            close_fds=True,
            pass_fds=() if out is None else (out,),
        )
    finally:
        if out is not None:
            os.close(out)
    try:
        return _output(child, deadline, output_limit)
    finally:
        _end(child)


def _output(child: subprocess.Popen[bytes], deadline: float, limit: int) -> bytes:
    """Return all the child says, if it says it in time and in measure."""
    if child.stdout is None:
        raise ValueError("the child has no output")
    pieces: list[bytes] = []
    length = 0
    with selectors.DefaultSelector() as selector, child.stdout:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise Overran
            piece = os.read(child.stdout.fileno(), 1 << 16)
            if not piece:
                break
            length += len(piece)
            if length > limit:
                raise Crashed
            pieces.append(piece)
    try:
        code = child.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise Overran from None
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        raise Overran
    if code:
        raise Crashed
    return b"".join(pieces)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all it started: it leads a process group of its own."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def cuts_network() -> bool:
    """Say whether this system can take the network away from a child."""
    return _machine() is not None and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


# The filter: numbers from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)
# and the classic BPF of Documentation/userspace-api/seccomp_filter.rst.

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# name: (x86_64, aarch64); None where the machine doesn't have it.
_FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    # network
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # ways around the filter
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "setrlimit": (160, 164), "open_by_handle_at": (304, 265),
    "openat2": (437, 437), "memfd_create": (319, 279), "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429),
    "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142), "personality": (135, 92),
    # other processes
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
    "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "setsid": (112, 157), "setpgid": (109, 154),
    # the file system
    "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
    "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None),
    "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None), "mknodat": (259, 33),
    "truncate": (76, 45), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip
# Allowed for some arguments only: number of the call and of the argument that tells.
_OPEN = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
_KILL = {"x86_64": (62, 234), "aarch64": (129, 131)}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_ALLOW, _REFUSE, _DIE = 0x7FFF0000, 0x00050001, 0x80000000  # the second: errno EPERM
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction))]


def _machine() -> str | None:
    machine = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
        platform.machine().lower()
    )
    return machine if sys.platform == "linux" and sys.maxsize > 2**32 else None


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """Return the filter's instructions (code, jump if true, jump if false, constant) for a machine."""
    column = 0 if machine == "x86_64" else 1
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    lines = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _DIE),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
    ]
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _DIE)]  # the x32 calls
    for numbers in _FORBIDDEN.values():
        number = numbers[column]
        if number is not None:
            lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for number, argument in _OPEN[machine]:
        lines += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, 16 + 8 * argument),
            (_ANY_BIT, 0, 1, writing),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for number in _KILL[machine]:  # a process may end itself
        lines += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, 16),
            (_EQUAL, 1, 0, os.getpid()),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    # prlimit may ask (no new limit: a null pointer), not set.
    lines += [(_EQUAL, 0, 4, _PRLIMIT[machine]), (_LOAD, 0, 0, 16 + 16), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, _REFUSE)]
    lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ALLOW)]
    return lines


def _give_up_rights(cpu: int, memory: int, file_size: int) -> None:
    """Set the limits of this process, for good: seconds, bytes, bytes."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            if sys.platform == "linux":  # macOS has no limit of address space
                raise
    machine = _machine()
    if machine is None:
        return
    lines = _filter(machine)
    instructions = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    program = _Program(len(lines), instructions)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0)


if __name__ == "__main__":
    _give_up_rights(**json.loads(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
