"""The audit trail of a course in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, Enrollment
from forum.models import Post, Thread

# What can't be made from the verb itself (`thread.pinned`: “pinned a thread”).
WORDS = {
    "course.updated": "changed the course’s settings",
    "course.archived": "archived the course",
    "course.unarchived": "took the course out of the archive",
    "course.posting_opened": "opened posting again",
    "enrollment.added": "added somebody to the course",
    "enrollment.returned": "brought somebody back into the course",
    "enrollment.changed": "changed what somebody is in the course",
    "roster.downloaded": "downloaded the roster",
    "section.renamed": "renamed a section",
    "thread.unassigned": "took a thread off its assignee",
    "thread.untagged": "took a tag off a thread",
    "thread.sorted": "changed the assignment of a thread",
    "post.accepted": "accepted an answer",
    "post.unaccepted": "took back an accepted answer",
    "post.unendorsed": "took back an endorsement",
    "course_ai.changed": "changed what the AI may do in the course",
    "calibration.fitted": "had the AI’s confidence fitted to what people judged",
    "answer.endorsed": "endorsed an answer of the AI",
    "answer.unendorsed": "took back an endorsement of an answer of the AI",
    "answer.published": "published a draft of the AI",
    "answer.edited": "edited an answer of the AI",
    "answer.withdrawn": "withdrew an answer of the AI",
    "answer.regenerated": "had an answer of the AI written anew",
    "template.added": "added a response template",
    "template.edited": "edited a response template",
    "template.deleted": "deleted a response template",
}


@dataclass(frozen=True)
class Line:
    """One event as it is shown. `who` is empty for nobody in particular; `label` and `url` say what it was done to."""

    event: AuditEvent
    who: str
    what: str
    label: str = ""
    url: str = ""


def describe(verb: str) -> str:
    """Return what a verb says: `thread.pinned` is “pinned a thread”."""
    if verb in WORDS:
        return WORDS[verb]
    noun, _, done = verb.rpartition(".")
    noun = noun.replace("_", " ") or "row"
    return f"{done.replace('_', ' ')} {'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def lines(member: Member, events: Sequence[AuditEvent]) -> list[Line]:
    """Return the events with links to what they were about, where the member can still open it. Three queries."""
    ids = [event.target_id for event in events]
    slug = member.course.slug
    targets: dict[object, tuple[str, str]] = {}
    for thread in Thread.objects.in_reach_of(member).filter(pk__in=ids).only("number", "title"):
        targets[thread.pk] = (f"#{thread.number} {thread.title}", reverse("forum:thread", args=[slug, thread.number]))
    posts = (
        Post.objects.visible_to(member)
        .filter(pk__in=ids)
        .select_related("thread")
        .only("thread__number", "thread__title")
    )
    for post in posts:
        url = reverse("forum:thread", args=[slug, post.thread.number])
        targets[post.pk] = (f"in #{post.thread.number} {post.thread.title}", f"{url}#post-{post.pk}")
    for row in Enrollment.objects.of_course(member).filter(pk__in=ids).select_related("user"):
        targets[row.pk] = (row.user.display_name, reverse("forum:enrollment", args=[slug, row.pk]))
    return [
        Line(
            event,
            event.actor.display_name if event.actor else "",
            describe(event.verb),
            *targets.get(event.target_id, ("", "")),
        )
        for event in events
    ]
