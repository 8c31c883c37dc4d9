"""Which QuokkaQ this is; `settings.VERSION` is its release."""

from functools import cache
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent.parent


@cache
def commit() -> str:
    """Return the commit this was built from: what the build says (`QUOKKAQ_COMMIT`), else what is checked out; "" if unknown."""
    return settings.COMMIT[:40] or _checked_out(ROOT / ".git")


def _checked_out(git: Path) -> str:
    try:
        if git.is_file():  # a worktree: “gitdir: …”
            git = Path(git.read_text().partition(":")[2].strip())
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:40]
        common = git / "commondir"
        base = (git / common.read_text().strip()) if common.exists() else git
        name = head.removeprefix("ref: ")
        if (base / name).exists():
            return (base / name).read_text().strip()[:40]
        packed = (base / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except OSError:
        return ""
