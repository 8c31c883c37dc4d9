"""Calling people by name in a text."""

import html
import re
from collections import defaultdict

from accounts.access import Member
from accounts.models import Enrollment, User
from forum.models import Anonymity, Mention, Post, Pseudonym, Thread, Visibility
from forum.signals import people_mentioned

# Enough for any text; whoever wants to reach everybody announces it.
MAX_MENTIONS = 20
_MARKED = re.compile(r'<span class="mention">@(.*?)</span>')

# Who answers to a name, by the name in lower case.
People = dict[str, list[User]]


def people_called(thread: Thread, body: str) -> People:
    """Return who may be called by name in a text of the thread: those who may read it, by what readers know them as.

    Somebody who hides answers to their pseudonym, and to their own name only as everybody in the course does: in a
    thread private to staff that name would say who asked, so there it is nobody's.
    """
    people: People = defaultdict(list)
    if "@" not in body:
        return people
    enrolled = Enrollment.objects.reading().filter(course=thread.course).select_related("user")
    if thread.visibility == Visibility.STAFF:
        enrolled = enrolled.staff()
        author = thread.author
        if author is not None and author.erased_at is None and thread.anonymity != Anonymity.ALL:
            people[author.display_name.casefold()].append(author)
    for enrollment in enrolled:
        people[enrollment.user.display_name.casefold()].append(enrollment.user)
    for pseudonym in Pseudonym.objects.filter(thread=thread).select_related("user"):
        # Somebody erased hears of nothing.
        owner = pseudonym.user
        people[pseudonym.name.casefold()] += [owner] if owner is not None and owner.erased_at is None else []
    return people


def note_mentions(*, by: Member, writing: Thread | Post, people: People) -> None:
    """Note who is called by name in a text that was just saved, and tell whoever listens about those who are new."""
    names = {html.unescape(name).casefold() for name in _MARKED.findall(writing.body_html)}
    called = {person.pk: person for name in names for person in people.get(name, []) if person.pk != by.user.pk}
    if not called:
        return
    thread, post = (writing.thread, writing) if isinstance(writing, Post) else (writing, None)
    known = set(Mention.objects.filter(thread=thread, post=post, user__in=called).values_list("user", flat=True))
    fresh = [person for key, person in called.items() if key not in known][:MAX_MENTIONS]
    Mention.objects.bulk_create(
        (Mention(institution_id=thread.institution_id, thread=thread, post=post, user=person) for person in fresh),
        ignore_conflicts=True,
    )
    if fresh:
        people_mentioned.send(sender=Mention, thread=thread, post=post, people=fresh, by=by)
