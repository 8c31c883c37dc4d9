"""The audit trail of a course in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.apps import apps
from django.db.models import Q
from django.urls import reverse

from accounts.access import Member
from accounts.models import AuditEvent, Enrollment
from accounts.querysets import AuditEventQuerySet
from forum.models import Post, Thread
from quokkaq.lib import request_id, whereabouts

# What can't be made from the verb itself (`thread.pinned`: “pinned a thread”).
WORDS = {
    "course.updated": "changed the course’s settings",
    "course.archived": "archived the course",
    "course.unarchived": "took the course out of the archive",
    "course.posting_opened": "opened posting again",
    "enrollment.added": "added somebody to the course",
    "enrollment.returned": "brought somebody back into the course",
    "enrollment.changed": "changed what somebody is in the course",
    "lti.context_linked": "linked the course with one on a learning platform",
    "lti.context_unlinked": "unlinked the course from one on a learning platform",
    "lti.deep_linked": "linked to a thread from a learning platform",
    "lti.members_fetched": "fetched the list of members from a learning platform",
    "lti.synced": "applied a learning platform’s list of members",
    "roster.downloaded": "downloaded the roster",
    "enrollment.joined": "joined the course by its code",
    "roster.uploaded": "uploaded a roster file",
    "roster.applied": "applied a roster file",
    "roster.discarded": "threw a roster file away",
    "invitation.sent": "invited somebody",
    "invitation.renewed": "invited somebody again",
    "invitation.changed": "changed what somebody is invited as",
    "invitation.revoked": "took back an invitation",
    "invitation.accepted": "accepted an invitation",
    "join_code.made": "made a join code",
    "join_code.rotated": "made a new join code",
    "join_code.limited": "limited the join code",
    "join_code.switched_off": "switched the join code off",
    "audit.downloaded": "downloaded the audit log",
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

    @property
    def where(self) -> str:
        """Say from where it was done."""
        if self.event.network == whereabouts.TASK.network:
            return "by the server itself"
        return ", ".join(part for part in (self.event.network, self.event.agent) if part)

    @property
    def request_id(self) -> str:
        """Return the request it was done in; kept back where nobody is named: others of the request may be."""
        return self.event.request_id if self.who and self.event.request_id != request_id.NONE else ""


@dataclass(frozen=True)
class Sought:
    """What somebody looks for in the log; empty fields narrow nothing. `until` is the first moment after it."""

    who: str = ""
    verb: str = ""
    kind: str = ""
    since: datetime | None = None
    until: datetime | None = None
    request_id: str = ""

    def events(self, member: Member) -> AuditEventQuerySet:
        """Return what happened in the member's course and fits. It narrows by names of the log only, so hidden ones find nothing."""
        events = AuditEvent.objects.visible_to(member.user).filter(course=member.course)
        if self.who:
            found = Enrollment.objects.of_course(member).filter(
                Q(user__display_name__icontains=self.who) | Q(user__email__iexact=self.who)
            )
            events = events.filter(actor__in=found.order_by().values("user"))
        if self.verb:
            events = events.filter(verb=self.verb)
        if self.kind:
            events = events.filter(target_type=self.kind)
        if self.since:
            events = events.filter(created_at__gte=self.since)
        if self.until:
            events = events.filter(created_at__lt=self.until)
        if self.request_id:
            events = events.filter(request_id=self.request_id, actor__isnull=False)
        return events.select_related("actor")


def words_of_kind(target_type: str) -> str:
    """Return what a kind of row is called: `forum.samequestion` is “Same question”."""
    model = apps.get_model(target_type)
    return str(model._meta.verbose_name).capitalize()


def kinds_in(member: Member) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the verbs and the kinds of rows there are in the course’s log, each with its words. One query."""
    pairs = set(
        AuditEvent.objects.visible_to(member.user)
        .filter(course=member.course)
        .order_by()
        .values_list("verb", "target_type")
        .distinct()
    )
    verbs = sorted((describe(verb), verb) for verb in {verb for verb, _ in pairs})
    kinds = sorted((words_of_kind(kind), kind) for kind in {kind for _, kind in pairs})
    return [(verb, words) for words, verb in verbs], [(kind, words) for words, kind in kinds]


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
