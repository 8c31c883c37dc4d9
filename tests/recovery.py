"""What drills measured, beside the targets: printed, and kept for `docs/recovery.md` (`make recovery`)."""

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

FOLDER = Path(settings.BASE_DIR) / ".local" / "recovery"


def measured(scenario: str, *, note: str = "", **figures: float | int | str) -> None:
    """Keep what a drill measured.

    Args:
        scenario: its key in `ops/recovery/report.py`, which knows its name and target.
        note: what was done, in one sentence, when that isn't said by the scenario.
        figures: name → number; seconds end in `_seconds`, counts have no unit.
    """
    line = {
        "scenario": scenario, "figures": {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()},
        "note": note, "at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": f"{os.cpu_count()} cores, {platform.system()}",
    }  # fmt: skip
    print("measured", json.dumps(line))
    FOLDER.mkdir(parents=True, exist_ok=True)
    # Several drills may measure one scenario, each in its own way.
    way = hashlib.sha256(note.encode()).hexdigest()[:8]
    (FOLDER / f"{scenario}-{way}.json").write_text(json.dumps(line))
