"""Keys that sort by the time they were made."""

import uuid

from uuid_utils import compat


def uuid7() -> uuid.UUID:
    """Return a new UUID version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then randomness."""
    return compat.uuid7()
