"""The deep look and the re-encoding, in the sandbox: here is the side that believes nothing of what comes back."""

import hashlib
import json
from pathlib import Path
from typing import Any

from quokkaq.lib import sandbox
from quokkaq.lib.inspecting.kinds import IMAGES, Findings, RefusedFile, Rejection

CHILD = Path(__file__).with_name("child.py")
# Address space of the child beyond the file itself.
MEMORY = 216 * 1024 * 1024
# Decoders reserve more than they touch; what they touch is bounded by the pixels.
PICTURE_MEMORY = 400 * 1024 * 1024
MAX_ANSWER = 4096
SECONDS = 10.0


def inspect(path: Path, *, claimed: str, seconds: float = SECONDS) -> Findings:
    """Look into a file in the sandbox and return what it is.

    Args:
        path: the whole file, on this machine.
        claimed: a content type of `TYPES`.
        seconds: after so long the file is refused.

    Raises `RefusedFile`.
    """
    answer = _ask(path, ["inspect", claimed], seconds=seconds, out=None)
    return _findings(answer, path, claimed)


def reencode(path: Path, out: Path, *, claimed: str, purpose: str, seconds: float = SECONDS) -> Findings:
    """Make a picture again from its pixels, in the sandbox; nothing else of the file survives, no metadata either.

    An avatar becomes a square WebP of 256 pixels. Any other picture keeps its format, and its size up to 4,000
    pixels a side (a larger JPEG comes out at 3,000 to 4,000);
    of a GIF the first frame is kept, as PNG.

    Args:
        path: the picture; `inspect` has passed it.
        out: where the new one is written; on refusal what stands there is removed.
        claimed: a content type of pictures.
        purpose: `attachment` or `avatar`.

    Raises `RefusedFile`, and `ValueError` for a content type that is no picture.
    """
    if claimed not in IMAGES:
        raise ValueError("only pictures are made again")
    try:
        answer = _ask(path, ["reencode", claimed, purpose], seconds=seconds, out=out)
        return _findings(answer, out, str(answer.get("content_type")))
    except RefusedFile:
        out.unlink(missing_ok=True)
        raise


def _ask(path: Path, arguments: list[str], *, seconds: float, out: Path | None) -> dict[str, Any]:
    size = path.stat().st_size
    if not size:
        raise RefusedFile(Rejection.EMPTY)
    try:
        with path.open("rb") as file:
            output = sandbox.run(
                CHILD,
                arguments,
                stdin=file,
                seconds=seconds,
                memory=(PICTURE_MEMORY if arguments[1] in IMAGES else MEMORY) + size,
                output_limit=MAX_ANSWER if out is None else 128 * 1024 * 1024,
                writable=out,
            )
        answer = json.loads(output)
        if not isinstance(answer, dict):
            raise RefusedFile(Rejection.DAMAGED)
        if "code" in answer:
            raise RefusedFile(Rejection(answer["code"]))
    except sandbox.Overran:
        raise RefusedFile(Rejection.SLOW) from None
    except (sandbox.Crashed, ValueError, RecursionError):
        raise RefusedFile(Rejection.DAMAGED) from None
    return answer


def _findings(answer: dict[str, Any], path: Path, claimed: str) -> Findings:
    numbers = {key: answer.get(key) for key in ("width", "height", "pages")}
    sane = all(value is None or (type(value) is int and 0 < value < 2**31) for value in numbers.values())
    if (
        answer.get("content_type") != claimed
        or not sane
        or (claimed in IMAGES and None in (numbers["width"], numbers["height"]))
    ):
        raise RefusedFile(Rejection.DAMAGED)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Findings(claimed, digest, path.stat().st_size, **numbers)
