"""Questions that are asked again and again: groups of threads whose titles ask the same.

1. Threads that staff called duplicates or merged are one group with what they point at.
2. The others are taken by how many people have them, most first, and each joins the group whose first title it is most
   like, or starts one ("leader clustering": Hartigan, "Clustering Algorithms", 1975, chapter 3). Likeness is the Dice
   coefficient of two titles' stemmed words, each weighed by its rarity in the course, and of their spelling, as in
   `forum.search.similar`.

It suggests, staff judge: of 500 Ask Ubuntu titles with 227 duplicate pairs among them it puts 30 pairs together, 20 of them
duplicates. The same rows give the same groups. At most `CONSIDERED` questions are looked at, the newest
ones. Three queries.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from accounts.access import Member
from forum.insights.period import Period
from forum.models import Status, Thread, Visibility
from forum.search import ranking
from quokkaq.lib.fulltext import analyse, dice, letter_runs

CONSIDERED = 500
SHOWN = 10
RAREST = 5
# With so many groups a title is compared: those it shares most rare words with.
COMPARED = 20
SPELLING_WEIGHT = 0.4
ALIKE = 0.55
# A group tells something when so many people had the question, or when it was asked more than once.
FEWEST_PEOPLE = 3


@dataclass
class Asked:
    """A question as the grouping needs it; nothing in it says who asked."""

    id: uuid.UUID
    number: int
    title: str
    people: int
    leads_to: uuid.UUID | None
    is_open: bool
    is_private: bool


@dataclass
class Group:
    """Questions that ask the same, the one most people have first."""

    threads: list[Asked] = field(default_factory=list)

    @property
    def first(self) -> Asked:
        return self.threads[0]

    @property
    def others(self) -> list[Asked]:
        return self.threads[1:]

    @property
    def people(self) -> int:
        """How often somebody had it. Who asked twice counts twice: telling people apart would tell who hides."""
        return sum(thread.people for thread in self.threads)

    @property
    def is_open(self) -> bool:
        return all(thread.is_open for thread in self.threads)


_FIELDS = ("id", "number", "title", "same_count", "duplicate_of_id", "merged_into_id", "status", "visibility")


def frequent_questions(member: Member, period: Period) -> list[Group]:
    """Return the groups of the period most people had, at most `SHOWN`."""
    shown = Thread.objects.in_reach_of(member).filter(kind="question", moderation="shown", deleted_at=None)
    newest = shown.filter(period.during("created_at")).order_by("-created_at", "-id")
    asked = {row[0]: _asked(row) for row in newest.values_list(*_FIELDS)[:CONSIDERED]}
    missing = {thread.leads_to for thread in asked.values() if thread.leads_to} - set(asked)
    # What a question of the period leads to may be older.
    asked |= {row[0]: _asked(row) for row in shown.filter(pk__in=missing).values_list(*_FIELDS)}
    groups = [Group(sorted(threads, key=_rank)) for threads in _grouped(member, asked)]
    told = [group for group in groups if group.others or group.people >= FEWEST_PEOPLE]
    return sorted(told, key=lambda group: (-group.people, group.first.number))[:SHOWN]


def _asked(row: Sequence[object]) -> Asked:
    key, number, title, same, duplicate_of, merged_into, status, visibility = row
    # A merged question's "same question" clicks were carried to where it leads; its asker still counts here.
    people = 1 + (0 if merged_into else int(str(same)))
    return Asked(
        id=uuid.UUID(str(key)), number=int(str(number)), title=str(title), people=people,
        leads_to=uuid.UUID(str(merged_into or duplicate_of)) if merged_into or duplicate_of else None,
        is_open=status == Status.OPEN and not merged_into, is_private=visibility == Visibility.STAFF,
    )  # fmt: skip


def _rank(thread: Asked) -> tuple[int, int]:
    return -thread.people, thread.number


def _grouped(member: Member, asked: dict[uuid.UUID, Asked]) -> list[list[Asked]]:
    """Return the questions in groups."""
    said: dict[uuid.UUID, list[Asked]] = defaultdict(list)
    for thread in asked.values():
        said[_end(thread, asked)].append(thread)
    order = sorted(said, key=lambda key: (-sum(thread.people for thread in said[key]), asked[key].number))
    rarity = ranking.rarity(member.course)
    words = dict(zip(order, analyse([asked[key].title for key in order]), strict=True)) if order else {}
    weights = {key: {word: rarity.of(word) for word in found} for key, found in words.items()}
    runs = {key: letter_runs(asked[key].title) for key in order}
    groups: dict[uuid.UUID, list[Asked]] = {}
    leaders_with: dict[str, list[uuid.UUID]] = defaultdict(list)
    for key in order:
        rare = rarity.rarest(words[key], RAREST)
        shared = Counter(leader for word in rare for leader in leaders_with[word])
        likeness = {
            leader: _likeness(weights[key], weights[leader], runs[key], runs[leader])
            for leader, _ in shared.most_common(COMPARED)
        }
        best = max(likeness, key=lambda leader: (likeness[leader], -asked[leader].number), default=None)
        if best is not None and likeness[best] >= ALIKE:
            groups[best] += said[key]
            continue
        groups[key] = said[key]
        for word in words[key]:
            leaders_with[word].append(key)
    return list(groups.values())


def _end(thread: Asked, asked: dict[uuid.UUID, Asked]) -> uuid.UUID:
    """Return the question the chain of duplicates ends at, as far as it is looked at; a circle ends at its smallest number."""
    seen = [thread]
    while seen[-1].leads_to in asked:
        following = asked[seen[-1].leads_to]
        if following in seen:
            return min(seen[seen.index(following) :], key=lambda one: one.number).id
        seen.append(following)
    return seen[-1].id


def _likeness(
    one: dict[str, float], other: dict[str, float], runs: frozenset[str], other_runs: frozenset[str]
) -> float:
    """Return from 0 to 1 how alike two titles are."""
    whole = sum(one.values()) + sum(other.values())
    words = 2 * sum(weight for word, weight in one.items() if word in other) / whole if whole else 0.0
    return (words + SPELLING_WEIGHT * dice(runs, other_runs)) / (1 + SPELLING_WEIGHT)
