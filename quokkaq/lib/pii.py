"""Find and remove what identifies a person or opens a door, in text.

Redaction leaves a label (`[email]`, `[token]`), so that a line still tells what happened. What has no pattern, such as names,
isn't found: what may be logged at all is decided in `quokkaq.lib.redacting`.
"""

import re

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Addresses that open something to whoever knows them.
    (re.compile(r"/(feeds|unsubscribe|join|invitations|reset)/[^/\s?\"'<>]++"), r"/\1/[token]"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), "[key]"),
    (re.compile(r"\b([a-z][a-z0-9+.-]{1,20})://[^\s/@:]*:[^\s/@]*@", re.I), r"\1://[credentials]@"),
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [token]"),
    (re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}\.?[A-Za-z0-9_-]*"), "[token]"),
    (re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{16,}"), "[key]"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "[key]"),
    # PostgreSQL repeats values in its errors: Key (email)=(…), Failing row contains (…).
    (
        re.compile(r"(?i)(Key \([^)]{0,300}\))=\(.{0,3000}?\)(?= (?:already|is not|conflicts)|$)", re.M),
        r"\1=([redacted])",
    ),
    (re.compile(r"(?i)(Failing row contains) \(.*", re.S), r"\1 ([redacted])"),
    (re.compile(r"(?i)(invalid input syntax for [^:\n]{1,200}:) .*"), r"\1 [redacted]"),
    # `++` doesn't give back what it took, and the look-behind starts it once per word: time stays linear in the text.
    (re.compile(r"(?<![\w.!#$&'*+/=?^`{|}~-])[\w.!#$&'*+/=?^`{|}~-]++(?:@|%40)[\w-]+(?:\.[\w-]+)+", re.I), "[email]"),
    (
        re.compile(
            r"(?i)(?<![a-z0-9])([a-z0-9_-]{0,30}?(?:password|passwd|secret|token|api[_-]?key|sessionid|cookie|authorization|signature))"
            r"([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&}\])]+)"
        ),
        r"\1\2[redacted]",
    ),
    (
        # Not dates (2026-11-23) and not addresses of machines (192.168.100.100).
        re.compile(
            r"(?<![\w.-])(?!\d{4}-\d\d-\d\d)(?!(?:\d{1,3}\.){3}\d{1,3}(?!\d))"
            r"(?:\+?\(?\d{2,4}\)?(?:[ ./-]\(?\d{2,8}\)?){2,4}|\+\d{9,15})(?![\w-])"
        ),
        "[phone]",
    ),
)


# Numbers that stand for a person. Only beside a word that says so, or in the shapes universities use (one letter or two
# and seven or more digits): a text on computing is full of other numbers.
_ID_WORD = r"(?:student|matric(?:ulation|ulating)?|enrol?lment|registration|candidate|employee|staff|campus|net)"
_STUDENT_ID = re.compile(
    rf"(?i)\b{_ID_WORD}[ _-]?(?:id|no|nr|num(?:ber)?|code)?\b[ \t]*(?:is|:|=|#|\.)?[ \t]*[#:]?[ \t]*(?P<id>[a-z]{{0,3}}-?\d{{5,12}})\b"
    r"|(?<![\w.-])(?P<bare>[a-z]{1,2}\d{7,9})(?![\w-])"
)
_EMAIL, _PHONE = _PATTERNS[-3][0], _PATTERNS[-1][0]
_KEYS = tuple(pattern for pattern, label in _PATTERNS if label in ("[key]", "[token]"))


def find_identifiers(text: str) -> list[tuple[int, int, str]]:
    """Return where e-mail addresses, phone numbers, student numbers and keys stand in a text: start, end, kind.

    The spans are in order and don't overlap.
    """
    found = [(m.start(), m.end(), "email") for m in _EMAIL.finditer(text)]
    found += [(m.start(), m.end(), "key") for pattern in _KEYS for m in pattern.finditer(text)]
    found += [(*m.span("id" if m["id"] else "bare"), "id") for m in _STUDENT_ID.finditer(text)]
    found += [(m.start(), m.end(), "phone") for m in _PHONE.finditer(text)]
    spans: list[tuple[int, int, str]] = []
    for span in sorted(found, key=lambda span: (span[0], -span[1])):
        if not spans or span[0] >= spans[-1][1]:
            spans.append(span)
    return spans


# A query string may hold anything that was typed; the path before it says enough.
_QUERY = re.compile(r"(?<![^\s\"'<>])([^\s?\"'<>]++)\?[^\s\"'<>]+")


def scrub(text: str) -> str:
    """Return `text` with e-mail addresses, phone numbers, tokens, keys, credentials and query strings replaced by labels.

    The time it takes is linear in the length of the text, whatever is in it: people choose what gets logged.
    """
    for pattern, label in _PATTERNS:
        text = pattern.sub(label, text)
    return _QUERY.sub(lambda match: f"{match[1]}?[query]" if "/" in match[1] else match[0], text)
