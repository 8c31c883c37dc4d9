"""What kind of file an upload really is, and whether it is taken.

In this order: `claimed_type` by the name, `first_look` at both ends, `inspect` the whole in a sandbox, the virus scanner
(`quokkaq.lib.scanner`), and for pictures `reencode`, of which only the result is shown.
"""

from quokkaq.lib.inspecting.heads import HEAD, TAIL, first_look
from quokkaq.lib.inspecting.kinds import (
    IMAGES,
    LIMITS,
    TYPES,
    FileType,
    Findings,
    RefusedFile,
    Rejection,
    allowed,
    claimed_type,
    extensions,
    sentence,
)
from quokkaq.lib.inspecting.looking import inspect, reencode

__all__ = [
    "HEAD", "IMAGES", "LIMITS", "TAIL", "TYPES", "FileType", "Findings", "RefusedFile", "Rejection", "allowed", "claimed_type",
    "extensions", "first_look", "inspect", "reencode", "sentence",
]  # fmt: skip
