"""What kind of file some bytes are, whatever their name says. Nothing is unpacked here: that is the child's work."""

import re
from pathlib import PurePosixPath

from ai_answers.parsing import plain
from ai_answers.parsing.base import Unreadable

EXTENSIONS = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".text": "text", ".html": "html", ".htm": "html",
    ".pdf": "pdf", ".pptx": "pptx", ".docx": "docx", ".ipynb": "ipynb",
}  # fmt: skip
NAMES = {
    "markdown": "a text file", "text": "a text file", "html": "a web page", "pdf": "a PDF", "pptx": "a PowerPoint file",
    "docx": "a Word file", "ipynb": "a Jupyter notebook",
}  # fmt: skip
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_NOTEBOOK = re.compile(r"\s*\{")


class Mismatch(Exception):
    """A file isn't what its name says, or nothing we read; the message is a sentence for who chose it."""


def sniff(data: bytes, name: str) -> str:
    """Return the format of a file; raise `Mismatch` when its content and its extension disagree."""
    claimed = EXTENSIONS.get(PurePosixPath(name).suffix.lower())
    if claimed is None:
        raise Mismatch("We read .md, .txt, .html, .pdf, .pptx, .docx and .ipynb files. Save it as one of these.")
    found = _content(data)
    if found == "old":
        raise Mismatch("This is a file of an older Office, or locked with a password. Save it anew as .pptx or .docx.")
    if found == "text" and claimed in ("markdown", "text", "html"):
        return claimed
    if found == "html" and claimed in ("markdown", "text"):
        return claimed
    if found == "ipynb" and claimed == "text":
        return claimed
    if found != claimed:
        looks = f" It looks like {NAMES[found]}." if found in NAMES else ""
        raise Mismatch(f"The content of this file isn’t {NAMES[claimed]}, as its name says.{looks}")
    return found


def _content(data: bytes) -> str:
    """Return the format the bytes are in; `old`, or nothing for what we don't know."""
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return "old"
    if data.startswith(b"PK"):
        # Names of members stand uncompressed in the archive.
        kinds = {"pptx": b"ppt/presentation.xml", "docx": b"word/document.xml"}
        return next((kind for kind, part in kinds.items() if part in data), "")
    try:
        text = plain.decode(data)
    except Unreadable:
        # A web page may declare another encoding.
        return "html" if _HTML.match(data[:4096].decode("latin-1")) else ""
    if _HTML.match(text[:4096]):
        return "html"
    return "ipynb" if _NOTEBOOK.match(text) and '"nbformat"' in text else "text"
