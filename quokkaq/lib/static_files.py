"""Static files as production serves them: ours are made small when they are collected, all are compressed.

In `static/` a stylesheet imports others, so that each says one thing. Browsers would fetch them one after another, so
`collectstatic` puts them into one file. Elsewhere (demo, tests) files are served as they are written.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rcssmin
import rjsmin
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile, File
from whitenoise.storage import CompressedManifestStaticFilesStorage

_IMPORT = re.compile(r'^@import url\("([\w-]+\.css)"\);\n', re.MULTILINE)
MAKERS = {".css": lambda path: rcssmin.cssmin(joined(path)), ".js": lambda path: rjsmin.jsmin(path.read_text("utf-8"))}


def joined(path: Path, seen: set[Path] | None = None) -> str:
    """Return a stylesheet with what it imports in place of the import, each file once."""
    seen = {path} if seen is None else seen

    def imported(match: re.Match[str]) -> str:
        other = path.parent / match[1]
        if other in seen:
            return ""
        seen.add(other)
        return joined(other, seen)

    return _IMPORT.sub(imported, path.read_text("utf-8"))


def small(path: Path) -> bytes:
    """Return one of our stylesheets or scripts as production serves it, before compression."""
    return str(MAKERS[path.suffix](path)).encode()


class SmallStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """WhiteNoise's storage, which names files by what is in them and compresses them, with ours made small before."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._urls: dict[str, str] = {}

    def url(self, name: str | None, force: bool = False) -> str:
        """Return where a file is served. What was collected has one address as long as the process lives."""
        if settings.DEBUG or force or name is None:
            return str(super().url(name, force))
        found = self._urls.get(name)
        if found is None:
            found = self._urls[name] = str(super().url(name, force))
        return found

    def save(self, name: str | None, content: File[Any], max_length: int | None = None) -> str:
        if source := _ours(name or ""):
            content = ContentFile(small(source))
        return str(super().save(name, content, max_length))

    def post_process(self, paths: dict[str, Any], **options: Any) -> Iterator[Any]:
        # What was saved above is named and compressed, not what it was made of.
        yield from super().post_process(
            {name: (self, name) if _ours(name) else paths[name] for name in paths}, **options
        )


def _ours(name: str) -> Path | None:
    """Return where a file is written, if it is a stylesheet or script of this project."""
    found = finders.find(name)
    source = Path(found) if isinstance(found, str) else None
    ours = source and source.suffix in MAKERS and source.is_relative_to(Path(settings.BASE_DIR) / "static")
    return source if ours else None
