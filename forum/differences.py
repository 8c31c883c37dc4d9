"""What changed between two versions of a text, word by word, for people to read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

# Unchanged lines shown before and after a change; the rest is folded.
CONTEXT = 2
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class Stretch:
    """A run of text that is `same`, `removed` or `added`; `folded` stands for so many unchanged lines left out."""

    kind: str
    text: str = ""
    lines: int = 0


def difference(before: str, after: str) -> list[Stretch]:
    """Return the stretches that make `after` out of `before`, in reading order.

    Lines are matched first, then the words of the lines that changed (Myers' idea of refining a line diff, with
    `difflib.SequenceMatcher` as the matcher).
    """
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    codes = SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    found: list[Stretch] = []
    for position, (tag, i1, i2, j1, j2) in enumerate(codes):
        if tag == "equal":
            found += _folded(old[i1:i2], head=position > 0, tail=position < len(codes) - 1)
        else:
            found += _words("".join(old[i1:i2]), "".join(new[j1:j2]))
    return found


def _words(before: str, after: str) -> Iterator[Stretch]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    for tag, i1, i2, j1, j2 in _word_codes(old, new):
        if tag == "equal":
            yield Stretch("same", "".join(old[i1:i2]))
            continue
        if i2 > i1:
            yield Stretch("removed", "".join(old[i1:i2]))
        if j2 > j1:
            yield Stretch("added", "".join(new[j1:j2]))


def _word_codes(old: list[str], new: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return how to get from one list of words to the other.

    Two texts that share little read better one after the other than woven into each other.
    """
    matcher = SequenceMatcher(a=old, b=new, autojunk=False)
    shared = sum(not word.isspace() for block in matcher.get_matching_blocks() for word in old[block.a :][: block.size])
    words = max(sum(not word.isspace() for word in side) for side in (old, new))
    return matcher.get_opcodes() if shared > 0.3 * words else [("replace", 0, len(old), 0, len(new))]


def _folded(lines: list[str], *, head: bool, tail: bool) -> Iterator[Stretch]:
    """Yield unchanged lines, with those far from any change (`head`: one before them, `tail`: one after) folded."""
    first, last = CONTEXT if head else 0, CONTEXT if tail else 0
    hidden = len(lines) - first - last
    if hidden <= 1:
        yield Stretch("same", "".join(lines))
        return
    if first:
        yield Stretch("same", "".join(lines[:first]))
    yield Stretch("folded", lines=hidden)
    if last:
        yield Stretch("same", "".join(lines[-last:]))
