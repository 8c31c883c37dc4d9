"""The program that reads one file: `python -I child.py FORMAT`, the file on stdin, JSON on stdout.

It gives up what it doesn't need before it looks at a byte: memory, time, files to write, processes, and where the system
allows, the network. It knows neither Django nor the settings, and its environment is empty.
"""

import ctypes
import importlib
import json
import os
import resource
import sys

MEMORY = 1024 * 1024 * 1024
CPU_SECONDS = 60
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def give_up_rights() -> None:
    """Set the limits of this process, for good."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    # An empty network of one's own. Containers often forbid it; the file is then read with the network in reach.
    if sys.platform == "linux":
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def main() -> None:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from ai_answers.parsing.base import Problem, Unreadable

    modules = {"markdown": "plain", "text": "plain"}
    give_up_rights()
    answer: dict[str, object]
    try:
        parser = importlib.import_module(f"ai_answers.parsing.{modules.get(sys.argv[1], sys.argv[1])}")
        parsed = parser.parse(sys.stdin.buffer.read())
        sections = [[s.start, s.end, s.heading, s.locator_kind, s.locator, s.is_markup] for s in parsed.sections]
        answer = {"text": parsed.text, "sections": sections}
    except Unreadable as error:
        answer = {"problem": error.problem}
    except (MemoryError, RecursionError):
        answer = {"problem": Problem.CRASHED}
    except Exception:
        # Parsers of hostile bytes raise anything, and its text may quote them.
        answer = {"problem": Problem.DAMAGED}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
