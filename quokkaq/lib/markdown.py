"""Markdown with highlighted code and LaTeX math, rendered and sanitised once, when it is written.

markdown-it-py parses, Pygments colours code, math-core turns LaTeX into MathML, and nh3 decides what is left:
whatever the steps before produce, only the elements and attributes named here reach a page. Nothing inline (styles,
scripts) survives, so pages keep a strict content security policy.
"""

import re
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import unescape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from math_core import LatexError, LatexToMathML
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Raise it when the output for the same source changes: stored HTML of an older version is rendered again.
RENDERER_VERSION = 2

_MATHML = [
    "math",
    "mrow",
    "mi",
    "mn",
    "mo",
    "ms",
    "mtext",
    "mspace",
    "mfrac",
    "msqrt",
    "mroot",
    "mstyle",
    "merror",
    "mpadded",
    "mphantom",
    "msub",
    "msup",
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mmultiscripts",
    "mprescripts",
    "none",
    "mtable",
    "mtr",
    "mtd",
    "menclose",
]
_HTML = [
    "p",
    "br",
    "hr",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "s",
    "del",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "code",
    "pre",
    "span",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "kbd",
    "sub",
    "sup",
]
_MATH_ATTRIBUTES = {
    "display", "displaystyle", "scriptlevel", "lspace", "rspace", "stretchy", "symmetric", "minsize", "maxsize",
    "form", "fence", "separator", "largeop", "movablelimits", "linethickness", "accent", "accentunder", "mathvariant",
    "width", "height", "depth", "voffset", "notation", "columnspan", "rowspan",
}  # fmt: skip

# What math-core and Markdown tables say with style attributes, said with classes of prose.css.
_STYLE_CLASSES = (
    (re.compile(r"text-align:\s*left"), "align-left"),
    (re.compile(r"text-align:\s*right"), "align-right"),
    (re.compile(r"text-align:\s*center"), "align-center"),
    (re.compile(r"border-right"), "rule-after"),
    (re.compile(r"border-left"), "rule-before"),
    (re.compile(r"width:\s*100%"), "fill"),
    (re.compile(r"(?<!-)width:\s*50%"), "half"),
)
Tokens = Sequence[Token]
Env = MutableMapping[str, Any]

# Under this key the parser finds what short forms point at ("references" is its own, for `[1]: https://…`).
_REFERENCES = "quokkaq.references"
_STYLE = re.compile(r'\sstyle="([^"]*)"')
_TAG = re.compile(r"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")


@dataclass(frozen=True)
class References:
    """What short forms in a text point at.

    `#123` becomes a link to `base` + `123/`; `@Name` is marked when the name is one of `names` (the longest wins,
    upper and lower case are the same). Inside code, formulas and links both stay text.
    """

    base: str
    names: Collection[str] = ()


def render(source: str, references: References | None = None) -> str:
    """Return safe HTML for Markdown written by a person. The page owns heading levels 1 and 2."""
    parser = _parser()
    environment: Env = {_REFERENCES: references}
    tokens = parser.parse(source, environment)
    _settle_headings(tokens)
    return _sanitise(parser.renderer.render(tokens, parser.options, environment))


def plain_text(html: str) -> str:
    """Return the words of rendered Markdown on one line, without its marks.

    For HTML of `render` only, whose text and attributes are escaped: what looks like a tag there is one.
    """
    return " ".join(unescape(_TAG.sub("", html)).split())


def _sanitise(html: str) -> str:
    return nh3.clean(
        html,
        tags={*_HTML, *_MATHML},
        attributes={
            "a": {"href", "title"},
            "ol": {"start"},
            "div": {"tabindex", "role", "aria-label"},
            **dict.fromkeys(_MATHML, _MATH_ATTRIBUTES),
        },
        allowed_classes={
            "div": {"code", "table-scroll", "math-block"},
            "a": {"reference"},
            "span": {"math-error", "mention", *_pygments_classes()},
            "code": {"math-error"},
            "th": {"align-left", "align-right", "align-center"},
            "td": {"align-left", "align-right", "align-center"},
            "mtd": {"align-left", "align-right", "align-center", "rule-after", "rule-before", "half"},
            "mtable": {"fill"},
        },
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow ugc noopener noreferrer",
    )


@cache
def _pygments_classes() -> frozenset[str]:
    from pygments.token import STANDARD_TYPES

    return frozenset(name for name in STANDARD_TYPES.values() if name)


@cache
def _latex() -> LatexToMathML:
    return LatexToMathML(pretty_print="never", fancy_error=False)


@cache
def _parser() -> MarkdownIt:
    # html=False: tags in the source are shown as text, so people can write about `<div>` without losing it.
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    parser.enable(["table", "strikethrough"])
    parser.use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    parser.core.ruler.push("references", _refer)
    for rule in (_image, _fence, _code_block, _table_open, _table_close):
        parser.add_render_rule(rule.__name__.removeprefix("_"), rule)
    for name in ("math_inline", "math_inline_double", "math_block"):
        parser.add_render_rule(name, _math)
    for name in ("th_open", "td_open"):
        parser.add_render_rule(name, _cell_open)
    return parser


_THREAD_NUMBER = r"(?<![\w&/#])#(?P<number>[1-9][0-9]{0,8})(?![\w-])"


def _refer(state: StateCore) -> None:
    """Turn `#123` and `@Name` into links and marks."""
    references: References | None = state.env.get(_REFERENCES)
    if references is None:
        return
    pattern = _THREAD_NUMBER
    if references.names:
        names = "|".join(re.escape(name) for name in sorted(references.names, key=len, reverse=True))
        pattern += rf"|(?<![\w@])@(?P<name>{names})(?!\w)"
    compiled = re.compile(pattern, re.IGNORECASE)
    for token in state.tokens:
        if token.type == "inline" and token.children and ("#" in token.content or "@" in token.content):
            token.children = list(_referred(token.children, compiled, references.base))


def _referred(tokens: Sequence[Token], pattern: re.Pattern[str], base: str) -> Iterator[Token]:
    in_link = 0
    for token in tokens:
        in_link += (token.type == "link_open") - (token.type == "link_close")
        if token.type != "text" or in_link:
            yield token
            continue
        end = 0
        for match in pattern.finditer(token.content):
            yield Token("text", "", 0, content=token.content[end : match.start()])
            number = match["number"]
            kind, tag = ("link", "a") if number else ("mention", "span")
            attributes: dict[str, str | int | float] = {"class": "reference" if number else "mention"}
            if number:
                attributes["href"] = f"{base}{number}/"
            yield Token(f"{kind}_open", tag, 1, attrs=attributes)
            yield Token("text", "", 0, content=match[0])
            yield Token(f"{kind}_close", tag, -1)
            end = match.end()
        yield Token("text", "", 0, content=token.content[end:])


def _math(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    token = tokens[index]
    display = token.type != "math_inline"
    try:
        mathml = _latex().convert_with_local_state(token.content, displaystyle=display)
    except LatexError:
        return f'<code class="math-error">{escapeHtml(token.content)}</code>'
    mathml = _STYLE.sub(_classes_for_style, mathml)
    if not display:
        return mathml
    mathml = mathml.replace("<math", '<math display="block"', 1)
    return f'<div class="math-block" tabindex="0" role="group" aria-label="Formula">{mathml}</div>'


def _classes_for_style(match: re.Match[str]) -> str:
    classes = [name for pattern, name in _STYLE_CLASSES if pattern.search(match.group(1))]
    return f' class="{" ".join(classes)}"' if classes else ""


def _image(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    # An image from another host would tell that host who reads: show a link instead.
    token = tokens[index]
    source = escapeHtml(str(token.attrGet("src") or ""))
    label = escapeHtml(token.content) or "image"
    return f'<a href="{source}">{label}</a>'


def _fence(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    language = tokens[index].info.strip().split(" ")[0].lower()
    return _code(tokens[index].content, language)


def _code_block(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    return _code(tokens[index].content, "")


def _code(content: str, language: str) -> str:
    try:
        lexer = get_lexer_by_name(language) if language else None
    except ClassNotFound:
        lexer = None
    inner = highlight(content, lexer, HtmlFormatter(nowrap=True)) if lexer else escapeHtml(content)
    return f'<div class="code" tabindex="0" role="group" aria-label="Code"><pre><code>{inner}</code></pre></div>\n'


def _table_open(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    return '<div class="table-scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _table_close(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    return "</table></div>\n"


def _cell_open(self: RendererHTML, tokens: Tokens, index: int, options: OptionsDict, env: Env) -> str:
    token = tokens[index]
    style = str(token.attrGet("style") or "")
    classes = [name for pattern, name in _STYLE_CLASSES if pattern.search(style)]
    return f'<{token.tag} class="{" ".join(classes)}">' if classes else f"<{token.tag}>"


def _settle_headings(tokens: Tokens) -> None:
    """Start headings at level 3 and let none be more than one deeper than the one before, as outlines need."""
    level = 2
    for token in tokens:
        if token.type == "heading_open":
            level = max(3, min(int(token.tag[1]) + 2, level + 1, 6))
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{level}"
