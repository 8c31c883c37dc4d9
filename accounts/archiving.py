"""The file somebody gets who asks for their data: JSON, their files, and a page to read it all with."""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from django.utils.html import escape

from accounts import privacy
from accounts.models import Upload, UploadState, User
from accounts.querysets import UploadQuerySet
from quokkaq.lib.storage import Missing, store

# The page shows so many rows of a kind; the JSON has all.
SHOWN_ROWS = 500
_NAME = re.compile(r"[^\w .()-]+|\.{2,}")
_LEFT_OUT = """What is not in here, and why
----------------------------
- What others wrote, replies to you too: it is theirs. Of a thread you wrote in, you find what you wrote.
- What staff note about threads for each other, and who flagged what: others would be known by it.
- Who looked behind a pseudonym, and why: it is the log of others' acts.
- Your password, and secret parts of addresses: nobody who gets hold of this file should be able to act as you.
- What you did under a pseudonym, in the audit log: it isn't tied to you there.
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Your data from QuokkaQ</title><style>
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#2a2721;background:#fff}
table{border-collapse:collapse;width:100%;font-size:14px}th,td{border:1px solid #cdc7bd;padding:4px 8px;text-align:start;
vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere;max-width:30rem}div{overflow-x:auto}summary{cursor:pointer}
</style></head><body><h1>Your data from QuokkaQ</h1>
"""


def count(person: User) -> int:
    """Return how many steps `write` takes."""
    return len(privacy.parts()) + _files(person).count()


def write(path: Path, person: User) -> Iterator[int]:
    """Write the whole archive, row by row and piece by piece; yield after each step how many are done."""
    done, missing = 0, []
    page = path.with_suffix(".html")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        with page.open("w", encoding="utf-8") as html:
            html.write(_PAGE)
            html.write(f"<p>Put together on {timezone.now():%Y-%m-%d %H:%M} UTC. Times are UTC.</p>\n")
            for part in privacy.parts():
                with archive.open(f"{part.name}.json", "w", force_zip64=True) as out:
                    _write_part(part, person, out, html)
                done += 1
                yield done
            html.write("</body></html>\n")
        for upload in _files(person).iterator(chunk_size=privacy.BATCH):
            if not _write_file(archive, upload):
                missing.append(upload.original_name)
            done += 1
            yield done
        archive.write(page, "index.html")
        archive.writestr("README.txt", _readme(missing))


def _files(person: User) -> UploadQuerySet:
    return Upload.objects.sent_by(person).filter(state=UploadState.CLEAN).order_by("pk")


def _write_part(part: privacy.PersonalData, person: User, out: IO[bytes], html: IO[str]) -> None:
    """Write the rows of one kind as JSON, and the first of them into the page."""
    total = 0
    html.write(f"<details><summary><strong>{escape(part.title)}</strong></summary>\n")
    if part.explains:
        html.write(f"<p>{escape(part.explains)}</p>\n")
    out.write(b"[")
    for row in part.rows(person):
        out.write(b",\n" if total else b"\n")
        out.write(json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False, indent=1).encode())
        if total < SHOWN_ROWS:
            if not total:
                html.write(f"<div><table><tr>{_cells('th', list(row))}</tr>\n")
            html.write(f"<tr>{_cells('td', list(row.values()))}</tr>\n")
        total += 1
    out.write(b"\n]\n")
    if total:
        html.write("</table></div>\n")
    more = f" {total - SHOWN_ROWS} more are in the JSON file." if total > SHOWN_ROWS else ""
    html.write(f"<p>{total} in <code>{escape(part.name)}.json</code>.{more}</p></details>\n")


def _cells(tag: str, values: Sequence[Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, dict | list):
            return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
        return "" if value is None else str(value)

    return "".join(f"<{tag}>{escape(text(value))}</{tag}>" for value in values)


def _write_file(archive: zipfile.ZipFile, upload: Upload) -> bool:
    """Copy one file into the archive; False when the store has lost it."""
    name = _NAME.sub("_", upload.original_name).strip(" .") or "file"
    try:
        chunks = store().chunks(upload.storage_key)
        first = next(chunks, b"")
    except Missing:
        return False
    # What is packed already would only cost time.
    entry = zipfile.ZipInfo(f"files/{upload.pk.hex[-12:]}-{name}", timezone.now().timetuple()[:6])
    with archive.open(entry, "w", force_zip64=True) as out:
        out.write(first)
        for chunk in chunks:
            out.write(chunk)
    return True


def _readme(missing: Sequence[str]) -> str:
    lines = [
        "Your data from QuokkaQ",
        "======================",
        "Open index.html to read it. Each kind of row is in a file of its own, as JSON; times are UTC.",
        "",
    ]
    for part in privacy.parts():
        lines.append(f"{part.name}.json: {part.title}. {part.explains}".rstrip())
        lines += [f"    Without “{name}”: {why}." for name, why in part.without.items()]
    lines.append("files/: the files you sent, as they were stored: pictures without what cameras write into them.")
    lines += [f"    Missing in our store: {name}" for name in missing]
    return "\n".join([*lines, "", _LEFT_OUT])
