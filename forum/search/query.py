"""What people type into the search box, taken apart."""

import re
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from django.utils import timezone

MAX_QUERY = 300
STATES = {
    "unanswered": "Unanswered questions",
    "answered": "Answered",
    "resolved": "Resolved",
    "unread": "With something you haven’t read",
    "mine": "Your own threads",
    "following": "Threads you follow",
    "endorsed": "Endorsed by staff",
    "private": "Private to staff",
    "pinned": "Pinned",
    "locked": "Locked",
    "question": "Questions",
    "discussion": "Discussions",
    "announcement": "Announcements",
}
# Signs that PostgreSQL's parser would take for parts of a word; migration 0009 parts words there in the same way.
SEPARATORS = str.maketrans("./<>", "    ")
PLACES = ("threads", "posts", "answers", "materials")

_OPERATOR = re.compile(r'(?<!\S)(?P<name>[A-Za-z]+):(?P<value>"[^"]*"|\S+)')
_NUMBER = re.compile(r"#([1-9][0-9]{0,8})")


@dataclass
class Query:
    """A search, as it was typed and as it is understood. `problems` says in sentences what couldn't be."""

    typed: str
    words: str = ""
    number: int | None = None
    tags: list[str] = field(default_factory=list)
    by: str = ""
    states: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    after: datetime | None = None
    before: datetime | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def about_threads(self) -> bool:
        """True when it asks for something that only threads, and what stands in them, can be."""
        return bool(self.tags or self.by or self.states)

    def within(self, place: str = "") -> str:
        """Return what was typed, for one place only, or (without one) for all."""
        text = _OPERATOR.sub(lambda match: " " if match["name"].lower() == "in" else match[0], self.typed)
        return " ".join(f"{text} {f'in:{place}' if place else ''}".split())

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.about_threads or self.after or self.before)


def part_words(text: str) -> str:
    """Return a text with the words apart that search entries keep apart: `list.append` is two."""
    return text.replace("\x00", " ").translate(SEPARATORS)


def parse_query(typed: str) -> Query:
    """Take a search apart: operators like `tag:homework`, and the words that are left."""
    text = " ".join(typed.replace("\x00", " ").split())
    query = Query(text[:MAX_QUERY])
    if len(text) > MAX_QUERY:
        query.problems.append(f"This is too long for a search. Only its first {MAX_QUERY} characters were used.")
        text = text[:MAX_QUERY]
    number = _NUMBER.fullmatch(text)
    if number:
        query.number = int(number[1])
    query.words = " ".join(_OPERATOR.sub(lambda match: _take(query, match), text).split())
    return query


def _take(query: Query, match: re.Match[str]) -> str:
    """Note one operator; return what stays among the words."""
    name, value = match["name"].lower(), match["value"].strip('"').strip()
    match name:
        case "tag" | "by" if not value:
            query.problems.append(
                f"Say what to look for after “{name}:”, like {'tag:homework' if name == 'tag' else 'by:sam'}."
            )
        case "tag":
            query.tags.append(value.lower())
        case "by":
            query.by = value
        case "is" if value.lower() in STATES:
            query.states.append(value.lower())
        case "in" if value.lower() in PLACES:
            query.places.append(value.lower())
        case "after" | "before":
            day = _day(value)
            if day is None:
                query.problems.append(f"“{match[0]}” is no day. Write it like {name}:2026-11-30.")
            else:
                setattr(query, name, day + timedelta(days=1) if name == "after" else day)
        case "is" | "in":
            known = ", ".join(STATES if name == "is" else PLACES)
            query.problems.append(f"There is no “{name}:{value}”. You can use: {known}.")
        case _:
            return match[0]  # a word with a colon in it, like `lambda:x` or `https://…`
    return " "


def _day(value: str) -> datetime | None:
    """Return the start of a day in the reader's time zone."""
    try:
        return timezone.make_aware(datetime.combine(date.fromisoformat(value), time.min))
    except (ValueError, OverflowError):
        return None
