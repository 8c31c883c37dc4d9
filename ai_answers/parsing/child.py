"""The program that reads one file: `child.py FORMAT`, the file on stdin, JSON on stdout.

`quokkaq.lib.sandbox` has taken network, memory and rights from it before it begins. It knows neither Django nor the settings.
"""

import importlib
import json
import os
import sys


def main() -> None:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from ai_answers.parsing.base import Problem, Unreadable

    modules = {"markdown": "plain", "text": "plain"}
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
