"""What a machine writes is data: it links to nothing, loads nothing, calls nobody.

The only links in an answer are those to its own quotations, which `render_answer` adds afterwards.
"""

import re

from quokkaq.lib.markdown import render

# `![a](b)`, `[a](b "c")`, `[a][b]`, `<https://…>` and `[a]: https://…`, with what is shown of each.
_INLINE = re.compile(r"!?\[(?P<label>[^\[\]\n]{0,500})\]\((?:[^()\n]|\([^()\n]*\)){0,2000}\)")
_REFERENCED = re.compile(r"!?\[(?P<label>[^\[\]\n]{1,500})\]\[[^\[\]\n]{0,500}\]")
_DEFINITION = re.compile(r"^[ ]{0,3}\[[^\]\n]{1,500}\]:[^\n]*$", re.MULTILINE)
_AUTOLINK = re.compile(
    r"<(?P<label>[a-z][a-z0-9+.-]{1,31}:[^\s<>]{0,2000}|[^\s<>@]{1,100}@[^\s<>]{1,200})>", re.IGNORECASE
)

# As the sanitiser writes them: attributes in double quotes, in which every quote is escaped; `<` in text is escaped, too.
_LINK_TAG = re.compile(r'<a(?:\s+[\w-]+="[^"]*")*\s*>|</a>')


def neutralise(markdown: str) -> str:
    """Return Markdown without links and images: of each stays what it shows. For texts that are kept or sent on."""
    text = _DEFINITION.sub("", markdown)
    # Twice: an image may be what a link shows.
    for _ in range(2):
        text = _INLINE.sub(lambda match: match["label"], text)
    text = _REFERENCED.sub(lambda match: match["label"], text)
    return _AUTOLINK.sub(lambda match: match["label"], text)


def render_neutral(markdown: str) -> str:
    """Return safe HTML without a single link, whatever the Markdown says. `#12` and `@Name` stay text."""
    return _LINK_TAG.sub("", render(markdown))
