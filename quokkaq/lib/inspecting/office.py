"""Files of Word, PowerPoint and Excel: packages of XML parts (ECMA-376) that may act, or load things, when opened."""

import re
from collections.abc import Mapping
from posixpath import dirname, join, normpath

from lxml import etree

from quokkaq.lib.inspecting.archives import Archive, Entry, is_archive, is_ole
from quokkaq.lib.inspecting.heads import is_program
from quokkaq.lib.inspecting.kinds import DOCX, OFFICE, PPTX, TYPES, XLSX, RefusedFile, Rejection

BY_EXTENSION: Mapping[str, str] = {TYPES[kind].extension: kind for kind in OFFICE}
# Bytes of XML, of all parts together and of one.
MAX_XML = 150 * 1024 * 1024
MAX_RELATIONS = 20_000
_MAIN = {
    DOCX: "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    PPTX: "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
    XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
}
_SLIDESHOW = "application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml"
_MACRO_PARTS = re.compile(
    r"(?:^|/)(?:vba\w*\.bin|vbadata\.xml|macrosheets/|dialogsheets/|intlmacrosheets/)|attachedtoolbars", re.I
)
_ACTIVE_PARTS = re.compile(
    r"(?:^|/)(?:activex/|webextensions/|oleobject[^/]*$|afchunk)|\.(?:bin\.exe|hta|js|vbs|html?|mht|mhtml|swf|rtf)$",
    re.I,
)
_MACRO_TYPES = re.compile(r"macroenabled|vbaproject|vbadata|macrosheet|dialogsheet|keymapcustomizations|\.macro", re.I)
_ACTIVE_TYPES = re.compile(
    r"activex|oleobject|x-shockwave|msword\b|ms-excel\b|ms-powerpoint\b|text/html|message/rfc822|application/rtf|x-msdownload",
    re.I,
)
_ACTIVE_RELATIONS = re.compile(
    r"/(?:control|activeXControlBinary|oleObject|aFChunk|vbaProject|wordVbaData|xlMacrosheet|xlIntlMacrosheet|attachedToolbars|mailMergeSource|mailMergeHeaderSource|frame|subDocument|connections?|queryTable|dialogsheet|ctrlProp)$",
    re.I,
)
# Relations outwards: by a click, or a video that plays by a click; and to a file on the writer's own disk.
_BY_CLICK = re.compile(r"/(?:hyperlink|video|media)$", re.I)
_LOCAL_ALLOWED = re.compile(
    r"/(?:attachedTemplate|externalLinkPath|image|hyperlink|video|audio|media|xlPathMissing)$", re.I
)
_WEB = re.compile(r"(?:https?://|mailto:|ftp://|tel:|doi:|urn:|#)[^\x00-\x1f]*", re.I)
_LOCAL = re.compile(r"(?:file:/{0,3})?(?:[A-Za-z](?::|%3A|\|)|/(?!/)(?:Users|home)/)[/\\]?(?![/\\])[^:]*", re.I)
_RELATIVE = re.compile(r"(?![/\\])[^:\\]*|\.{1,2}[/\\][^:]*|", re.I)
_DTD = re.compile(rb"<!(?:DOCTYPE|ENTITY)|<\0!\0(?:D\0O\0C|E\0N\0T)|\0<\0!\0(?:D\0O\0C|E\0N\0T)", re.I)
_FIELD = re.compile(
    rb"<(?:\w+:)?instrText\b[^>]*>([^<]*)<|<(?:\w+:)?fldSimple\b[^>]*?\binstr\s*=\s*[\"']([^\"']*)[\"']", re.I
)
# `QUOTE` with numbers spells another field out.
_DANGEROUS_FIELD = re.compile(
    rb"DDEAUTO|(?:\A|[^A-Z])DDE\s|INCLUDEPICTURE\s+\"?\s*\\\\|INCLUDETEXT\s+\"?\s*(?:\\\\|https?:|file:)|QUOTE(?:\s+\d+){4}",
    re.I,
)
_DDE_LINK = re.compile(rb"<(?:\w+:)?(?:ddeLink|oleLink)\b")
_WEB_FORMULA = re.compile(
    rb"<(?:\w+:)?f\b[^>]*>[^<]*?(?:WEBSERVICE|REGISTER(?:\.ID)?|CALL|EXEC|RTD)\s*\(|<(?:\w+:)?f\b[^>]*>\s*[=+@-]?\s*(?:cmd|powershell|mshta|rundll32|regsvr32|wscript|cscript|msexcel|dde)\s*\|",
    re.I,
)
_PPT_ACTION = re.compile(rb"action=[\"']ppaction://(?:program|macro|ole)", re.I)
_ENCODING = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"'](?!utf-?8|utf-16|us-ascii|iso-8859-|windows-125)", re.I)


def inspect_office(data: bytes, claimed: str, *, inside: bool = False) -> None:
    """Refuse a package that isn't sound, isn't what it claims, or acts when opened.

    Args:
        data: the file.
        claimed: one of `OFFICE`.
        inside: it stands in another file; nothing more may stand in it then.

    Raises `RefusedFile`.
    """
    archive = Archive(data)
    parts = {entry.name: entry for entry in archive.entries if not entry.is_folder}
    _refuse_parts(parts)
    types = _content_types(archive, parts)
    _refuse_wrong_main(archive, parts, types, claimed)
    xml = 0
    for name, entry in parts.items():
        pieces = archive.pieces(entry)
        head = next(pieces, b"")
        lower = name.lower()
        is_package = "/embeddings/" in f"/{lower}" and head.startswith(b"PK\x03\x04")
        if is_package:
            # The numbers behind a chart are a workbook of their own.
            kind = BY_EXTENSION.get(lower[lower.rfind(".") :])
            if kind is None or inside:
                raise RefusedFile(Rejection.ACTIVE)
            inspect_office(archive.read(entry), kind, inside=True)
            continue
        _refuse_head(head)
        if _is_xml(lower, head, types):
            xml += entry.unpacked
            if xml > MAX_XML:
                raise RefusedFile(Rejection.BOMB)
            _inspect_xml(lower, name, archive.read(entry))
        else:
            for _ in pieces:
                pass


def _refuse_parts(parts: Mapping[str, Entry]) -> None:
    for name in parts:
        if _MACRO_PARTS.search(name):
            raise RefusedFile(Rejection.MACROS)
        if _ACTIVE_PARTS.search(name):
            raise RefusedFile(Rejection.ACTIVE)


def _refuse_head(head: bytes) -> None:
    if is_program(head):
        raise RefusedFile(Rejection.EXECUTABLE)
    if is_ole(head) or head.startswith((b"{\\rt", b"%PDF-", b"FWS", b"CWS", b"ZWS")):
        raise RefusedFile(Rejection.ACTIVE)
    # Compressed metafiles (.emz, .wmz) are gzip and honest; everything else that unpacks isn't.
    if is_archive(head) and not head.startswith((b"\x1f\x8b", b"\x60\xea")):
        raise RefusedFile(Rejection.NESTED)


def _is_xml(lower: str, head: bytes, types: Mapping[str, str]) -> bool:
    named = lower.endswith((".xml", ".rels", ".vml", ".svg")) or types.get(f"/{lower}", "").endswith("xml")
    return named or head.lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0").startswith(b"<")


def _parse(data: bytes) -> etree._Element:
    """Return the root of XML without entities, network or external DTD; raises `RefusedFile` when it is broken."""
    if _DTD.search(data):
        raise RefusedFile(Rejection.BOMB)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise RefusedFile(Rejection.DAMAGED) from None


def _content_types(archive: Archive, parts: Mapping[str, Entry]) -> dict[str, str]:
    """Return the content type of each part that has one of its own, by its name in lower case with a leading slash."""
    listing = parts.get("[Content_Types].xml")
    if listing is None:
        raise RefusedFile(Rejection.MISMATCH)
    types: dict[str, str] = {}
    defaults: dict[str, str] = {}
    for element in _parse(archive.read(listing, 4 * 1024 * 1024)).iter("{*}Override", "{*}Default"):
        kind = element.get("ContentType", "")
        if _MACRO_TYPES.search(kind):
            raise RefusedFile(Rejection.MACROS)
        if _ACTIVE_TYPES.search(kind) and element.get("PartName") is not None:
            raise RefusedFile(Rejection.ACTIVE)
        if element.get("PartName") is not None:
            types[element.get("PartName", "").lower()] = kind
        else:
            defaults[element.get("Extension", "").lower()] = kind
    for name in parts:
        lower = name.lower()
        types.setdefault(f"/{lower}", defaults.get(lower[lower.rfind(".") + 1 :], ""))
    return types


def _refuse_wrong_main(archive: Archive, parts: Mapping[str, Entry], types: Mapping[str, str], claimed: str) -> None:
    """The part that the package calls its document must exist and be of the type that the extension claims."""
    root = parts.get("_rels/.rels")
    if root is None:
        raise RefusedFile(Rejection.DAMAGED)
    mains = [
        normpath(join("/", element.get("Target", ""))).lower()
        for element in _parse(archive.read(root, 4 * 1024 * 1024)).iter("{*}Relationship")
        if element.get("Type", "").endswith("/officeDocument")
    ]
    present = {f"/{name.lower()}" for name in parts}
    kinds = {types.get(main, "") for main in mains if main in present}
    if len(mains) != 1 or kinds != {_MAIN[claimed]}:
        raise RefusedFile(Rejection.MISMATCH)
    if any(kind.endswith(".main+xml") and kind not in {_MAIN[claimed]} for kind in types.values()):
        raise RefusedFile(Rejection.MISMATCH)


def _inspect_xml(lower: str, name: str, data: bytes) -> None:
    if _DTD.search(data):
        raise RefusedFile(Rejection.BOMB)
    if _ENCODING.match(data.removeprefix(b"\xef\xbb\xbf")):
        raise RefusedFile(Rejection.DAMAGED)
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        data = data.decode("utf-16", "replace").encode()
    if lower.endswith(".rels"):
        _inspect_relations(name, data)
    elif lower.startswith("word/"):
        fields = b"".join(first or second for first, second in _FIELD.findall(data))
        if _DANGEROUS_FIELD.search(fields.replace(b"&quot;", b'"')):
            raise RefusedFile(Rejection.ACTIVE)
    elif lower.startswith("xl/"):
        if (lower.startswith("xl/externallinks/") and _DDE_LINK.search(data)) or _WEB_FORMULA.search(data):
            raise RefusedFile(Rejection.ACTIVE)
    elif lower.startswith("ppt/") and _PPT_ACTION.search(data):
        raise RefusedFile(Rejection.ACTIVE)
    if lower.endswith(".svg") and re.search(
        rb"<(?:\w+:)?(?:script|foreignObject|iframe)\b|\bon\w+\s*=|javascript:", data, re.I
    ):
        raise RefusedFile(Rejection.ACTIVE)


def _inspect_relations(name: str, data: bytes) -> None:
    """Refuse relations to what acts, and to what is loaded from elsewhere without anybody's click."""
    base = dirname(dirname(f"/{name}"))
    for count, element in enumerate(_parse(data.lstrip(b"\xef\xbb\xbf")).iter("{*}Relationship")):
        if count > MAX_RELATIONS:
            raise RefusedFile(Rejection.DEEP)
        kind, target = element.get("Type", ""), element.get("Target", "").strip()
        if _ACTIVE_RELATIONS.search(kind):
            raise RefusedFile(Rejection.ACTIVE)
        if element.get("TargetMode", "").lower() != "external":
            if (
                ":" in target.split("/")[0]
                or target.startswith(("//", "\\"))
                or normpath(join(base, target)).startswith("/..")
            ):
                raise RefusedFile(Rejection.REMOTE)
            continue
        by_click = _BY_CLICK.search(kind) and (_WEB.fullmatch(target) or _RELATIVE.fullmatch(target))
        local = _LOCAL_ALLOWED.search(kind) and (_LOCAL.fullmatch(target) or _RELATIVE.fullmatch(target))
        if not (by_click or local) or "%5c" in target.lower():
            raise RefusedFile(Rejection.REMOTE)
