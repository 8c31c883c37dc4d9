"""Web pages: what a reader sees of them, by their headings."""

import re
from collections.abc import Iterator

from lxml import etree

from ai_answers.parsing import plain
from ai_answers.parsing.base import Builder, Parsed, Problem, Unreadable

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]{1,40})""", re.IGNORECASE)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_UNSEEN = frozenset(
    [
        "script",
        "style",
        "template",
        "nav",
        "noscript",
        "head",
        "iframe",
        "object",
        "embed",
        "svg",
        "canvas",
        "audio",
        "video",
        "select",
        "datalist",
        "textarea",
    ]
)
_UNSEEN_ROLES = frozenset({"navigation", "search"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "thead",
        "tfoot",
        "tr",
        "ul",
        "caption",
    ]
)
_CELLS = frozenset({"td", "th"})
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0(?:\.0+)?\s*(?:;|!|$)"
                     r"|font-size\s*:\s*0(?:\.0+)?(?:px|em|rem|pt|%)?\s*(?:;|!|$)|content-visibility\s*:\s*hidden", re.I)  # fmt: skip
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_AT_BLOCK = re.compile(r"@(?:media[^{]*\bprint\b|page|font-face|keyframes)[^{]*\{(?:[^{}]|\{[^{}]*\})*\}", re.I)
_COMPOUND = re.compile(r"(\*|[a-zA-Z][\w-]*)?((?:[.#][\w-]+)*)$")
MAX_RULES = 2000

# A selector, as the simple selectors of the element and of what it must stand in, outermost first.
Selector = list[tuple[str, frozenset[str], frozenset[str]]]


def parse(data: bytes) -> Parsed:
    """Return the visible text; a heading begins a section. Raises `Unreadable` when there is none."""
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False)
    root = etree.fromstring(_decoded(data).encode("utf-8", "ignore"), parser)
    if root is None:
        raise Unreadable(Problem.NO_TEXT)
    reader = _Reader(_hiding_rules(root))
    reader.read(root)
    return reader.builder.build()


def _decoded(data: bytes) -> str:
    """Return the page as text: by its byte-order mark, as UTF-8, or as what it declares."""
    try:
        return plain.decode(data)
    except Unreadable:
        declared = _CHARSET.search(data[:4096])
        if declared is None:
            raise
    try:
        return data.decode(declared[1].decode("ascii"))
    except (LookupError, UnicodeDecodeError):
        raise Unreadable(Problem.NOT_UTF8) from None


class _Reader:
    """Walks a tree without recursion: a page may nest deeper than Python calls can."""

    def __init__(self, hidden: list[Selector]) -> None:
        self.builder = Builder()
        self.hidden = hidden
        self.heading = ""
        self.parts: list[str] = []
        self.kept = 0  # how many <pre> we are in

    def read(self, root: etree._Element) -> None:
        skipped: etree._Element | None = None
        for event, element in etree.iterwalk(root, events=("start", "end")):
            if event == "start":
                if skipped is None and self._is_unseen(element):
                    skipped = element
                elif skipped is None:
                    self._enter(element)
                continue
            if skipped is None:
                self._leave(element)
            elif skipped is element:
                skipped = None
            if skipped is None and element is not root:
                self._say(element.tail)
        self._flush()

    def _enter(self, element: etree._Element) -> None:
        tag = element.tag
        if tag in _HEADINGS:
            self._flush()
        elif tag in _BLOCKS:
            self._break("\n\n" if tag in ("p", "table", "ul", "ol", "pre", "dl", "blockquote") else "\n")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in _CELLS and element.getprevious() is not None:
            self.parts.append(" | ")
        if tag == "pre":
            self.kept += 1
        self._say(element.text)

    def _leave(self, element: etree._Element) -> None:
        if element.tag in _HEADINGS:
            self.heading = " ".join("".join(self.parts).split())
        elif element.tag == "pre":
            self.kept -= 1
        if element.tag in _HEADINGS or element.tag in _BLOCKS:
            self._break("\n\n" if element.tag in ("p", "table", "pre", *_HEADINGS) else "\n")

    def _say(self, text: str | None) -> None:
        if not text:
            return
        if self.kept:
            self.parts.append(text)
            return
        text = re.sub(r"[ \t\r\n\f]+", " ", text)
        if text.startswith(" ") and (not self.parts or self.parts[-1].endswith((" ", "\n"))):
            text = text[1:]
        self.parts.append(text)

    def _break(self, kind: str) -> None:
        if self.parts:
            self.parts.append(kind)

    def _flush(self) -> None:
        lines = [line.rstrip() for line in "".join(self.parts).split("\n")]
        self.builder.add(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)), self.heading)
        self.parts = []

    def _is_unseen(self, element: etree._Element) -> bool:
        if not isinstance(element.tag, str) or element.tag in _UNSEEN:
            return True
        if "hidden" in element.attrib or element.get("aria-hidden", "").lower() == "true":
            return True
        if element.get("role", "").lower() in _UNSEEN_ROLES or _HIDING.search(element.get("style", "")):
            return True
        return any(_matches(element, selector) for selector in self.hidden)


def _hiding_rules(root: etree._Element) -> list[Selector]:
    """Return the selectors that the page's own style sheets hide. Only tags, classes, ids and descendants are understood."""
    found: list[Selector] = []
    for sheet in root.iter("style"):
        css = _AT_BLOCK.sub("", _COMMENT.sub("", "".join(sheet.itertext())))
        for selectors, declarations in _RULE.findall(css):
            if _HIDING.search(declarations):
                found += filter(None, map(_selector, selectors.split(",")))
        if len(found) > MAX_RULES:
            raise Unreadable(Problem.BOMB)
    return found


def _selector(text: str) -> Selector | None:
    compounds: Selector = []
    for part in text.replace(">", " ").split():
        match = _COMPOUND.match(part)
        if match is None or not part:
            return None
        names = re.findall(r"([.#])([\w-]+)", match[2])
        classes = frozenset(name for sign, name in names if sign == ".")
        ids = frozenset(name for sign, name in names if sign == "#")
        compounds.append(((match[1] or "*").lower(), classes, ids))
    return compounds or None


def _matches(element: etree._Element, selector: Selector) -> bool:
    if not _fits(element, selector[-1]):
        return False
    ancestors: Iterator[etree._Element] = element.iterancestors()
    return all(any(_fits(ancestor, compound) for ancestor in ancestors) for compound in reversed(selector[:-1]))


def _fits(element: etree._Element, compound: tuple[str, frozenset[str], frozenset[str]]) -> bool:
    tag, classes, ids = compound
    return (
        tag in ("*", element.tag)
        and (not ids or ids == {element.get("id")})
        and (not classes or classes.issubset(element.get("class", "").split()))
    )
