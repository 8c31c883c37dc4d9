"""The program that looks into one file: `inspect TYPE` or `reencode TYPE PURPOSE OUT`, the file on stdin, JSON on stdout.

`quokkaq.lib.sandbox` has taken network, memory and rights from it before it begins.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(arguments: list[str]) -> dict[str, object]:
    """Return what the file turned out to be, or the code of a refusal."""
    from quokkaq.lib.inspecting import kinds

    try:
        if arguments[0] == "inspect":
            return inspect(sys.stdin.buffer.read(), arguments[1])
        return reencode(*arguments[1:])
    except kinds.RefusedFile as refused:
        return {"code": refused.code}
    except MemoryError:
        return {"code": kinds.Rejection.MEMORY}
    except RecursionError:
        return {"code": kinds.Rejection.DEEP}
    except Exception:
        # Readers of hostile bytes raise anything, and its text may quote them.
        return {"code": kinds.Rejection.DAMAGED}


def inspect(data: bytes, claimed: str) -> dict[str, object]:
    from quokkaq.lib.inspecting import kinds
    from quokkaq.lib.inspecting.heads import HEAD, TAIL, first_look

    first_look(data[:HEAD], data[-TAIL:], len(data), claimed=claimed)
    found: dict[str, object] = {"content_type": claimed}
    if claimed in kinds.IMAGES:
        found["width"], found["height"] = _module("pictures").inspect_picture(data, claimed)
    elif claimed == kinds.PDF:
        found["pages"] = _module("pdfs").inspect_pdf(data)
    elif claimed in kinds.OFFICE:
        _module("office").inspect_office(data, claimed)
    elif claimed == kinds.ZIP:
        _module("archives").inspect_zip(data)
    elif claimed in {kinds.JSON, kinds.NOTEBOOK}:
        _module("texts").inspect_json(data, claimed)
    else:
        _module("texts").inspect_text(data, claimed)
    return found


def reencode(claimed: str, purpose: str, descriptor: str) -> dict[str, object]:
    made, content_type, width, height = _module("pictures").reencode_picture(sys.stdin.buffer, claimed, purpose)
    with os.fdopen(int(descriptor), "wb") as out:
        out.write(made)
    return {"content_type": content_type, "width": width, "height": height}


def _module(name: str) -> Any:
    """Return a reader; each comes with libraries that the others don't need."""
    return importlib.import_module(f"quokkaq.lib.inspecting.{name}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    sys.stdout.write(json.dumps(main(sys.argv[1:])))
