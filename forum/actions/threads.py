"""Starting, editing, settling, deleting and moderating threads."""

import hashlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from accounts.models import Course
from forum import access
from forum.actions.attaching import set_attachments
from forum.actions.drafts import discard_draft
from forum.actions.mentions import note_mentions, people_called
from forum.models import (
    Anonymity,
    Assignment,
    Kind,
    Moderation,
    Post,
    Pseudonym,
    Revision,
    Status,
    Tag,
    Thread,
    ThreadRead,
    ThreadTag,
    Visibility,
    Writing,
)
from forum.signals import text_pending, thread_changed, thread_started
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import THREADS_CREATED
from quokkaq.lib.uuid7 import uuid7

_ANIMALS = [
    "Wombat",
    "Numbat",
    "Bilby",
    "Quoll",
    "Potoroo",
    "Bandicoot",
    "Wallaby",
    "Echidna",
    "Platypus",
    "Kookaburra",
    "Galah",
    "Lorikeet",
    "Emu",
    "Cassowary",
    "Dugong",
    "Possum",
    "Glider",
    "Dunnart",
    "Pademelon",
    "Bettong",
    "Kultarr",
    "Antechinus",
    "Lyrebird",
    "Brolga",
]
_MOODS = [
    "Curious",
    "Patient",
    "Quiet",
    "Bright",
    "Gentle",
    "Careful",
    "Eager",
    "Brave",
    "Calm",
    "Keen",
    "Merry",
    "Sunny",
    "Thoughtful",
    "Nimble",
    "Steady",
    "Wise",
]


@dataclass(frozen=True)
class ThreadDraft:
    """What somebody wants to post."""

    title: str
    body: str
    kind: Kind = Kind.QUESTION
    visibility: Visibility = Visibility.COURSE
    anonymity: Anonymity = Anonymity.NAMED
    tags: Collection[Tag] = ()
    assignment: Assignment | None = None
    # What its text was made from (`forum.panels.register_ask_origin`); the person may have changed every word since.
    origin: str = ""
    # Keys of files to attach. They are no part of what makes two sent forms the same: a browser may send a file twice.
    uploads: Collection[uuid.UUID] = ()

    def submission_key(self, form_key: uuid.UUID) -> uuid.UUID:
        """Return the same key for the same text sent from the same form, however often and from however many tabs."""
        return content_key(form_key, self.title, self.body, self.kind, self.visibility, self.anonymity)


def content_key(form_key: uuid.UUID, *parts: str) -> uuid.UUID:
    """Return a UUID made from a form's key and what was typed into it."""
    return uuid.uuid5(form_key, hashlib.sha256("\x1f".join(parts).encode()).hexdigest())


@transaction.atomic
def start_thread(*, by: Member, draft: ThreadDraft, form_key: uuid.UUID) -> Thread:
    """Post a thread, give it the next number of the course, and tell whoever listens to `thread_started`.

    Sending the same form again returns the thread of the first time.
    """
    access.require(draft.kind != Kind.ANNOUNCEMENT or by.is_staff)
    access.require(access.may_hide_as(by, draft.anonymity))
    key = draft.submission_key(form_key)
    # The lock makes numbering gapless, and makes a double submission wait until the first one is there to be found.
    course = Course.objects.select_for_update(no_key=True).get(pk=by.course.pk)
    earlier = find_sent(by=by, draft=draft, form_key=form_key)
    if earlier is not None:
        return earlier
    access.require_poster(by)
    course.last_thread_number += 1
    course.save(update_fields=["last_thread_number"])
    thread = Thread(
        institution_id=course.institution_id,
        course=by.course,
        number=course.last_thread_number,
        author=by.user,
        anonymity=draft.anonymity,
        title=draft.title,
        kind=draft.kind,
        visibility=draft.visibility,
        assignment=draft.assignment,
        moderation=moderation_of(by, draft.visibility),
        submission_key=key,
    )
    thread.last_activity_at = thread.created_at
    people = people_called(thread, draft.body)
    thread.set_body(draft.body, names=people)
    if draft.anonymity == Anonymity.NAMED:
        thread.save(force_insert=True)
    else:
        # Thread and pseudonym point at each other; the foreign key is checked at commit.
        thread.pseudonym_id = uuid7()
        thread.save(force_insert=True)
        thread.pseudonym = pseudonym_for(by, thread, draft.anonymity, pseudonym_id=thread.pseudonym_id)
    set_attachments(by=by, writing=thread, uploads=draft.uploads)
    ThreadTag.objects.bulk_create(
        ThreadTag(institution_id=course.institution_id, thread=thread, tag=tag) for tag in draft.tags
    )
    ThreadRead.objects.create(
        institution_id=course.institution_id, thread=thread, user=by.user, read_at=thread.last_activity_at
    )
    discard_draft(by=by, thread=None, post=None)
    thread_started.send(sender=Thread, thread=thread, origin=draft.origin)
    count(THREADS_CREATED, draft.kind)
    if thread.is_shown:
        note_mentions(by=by, writing=thread, people=people)
    else:
        text_pending.send(sender=Thread, writing=thread)
    return thread


def find_sent(*, by: Member, draft: ThreadDraft, form_key: uuid.UUID) -> Thread | None:
    """Return the thread that the member made by sending the same form before, if they did."""
    key = draft.submission_key(form_key)
    return Thread.objects.filter(author=by.user, submission_key=key, course=by.course).first()


def moderation_of(member: Member, visibility: str) -> Moderation:
    """Return whether what the member posts waits for approval. What only staff see needs none."""
    waits = member.needs_approval and visibility == Visibility.COURSE
    return Moderation.PENDING if waits else Moderation.SHOWN


def pseudonym_for(
    member: Member, thread: Thread, anonymity: Anonymity, *, pseudonym_id: uuid.UUID | None = None
) -> Pseudonym:
    """Return the member's pseudonym in the thread, made on first use.

    Raises `Refused` when the member hides there already, but from others: staff, who see a name beside the pseudonym
    in one place, would know it in the other.

    Which name somebody gets depends only on chance: it is drawn from the names nobody has in this thread.
    """
    found = Pseudonym.objects.filter(thread=thread, user=member.user).first()
    if found is not None:
        others = [
            rows.filter(pseudonym=found).exclude(anonymity=anonymity).exists()
            for rows in (Thread.objects.all(), Post.objects.all())
        ]
        if any(others):
            raise access.Refused(
                "In this thread you hide your name from others already, and two ways of hiding would give you away. "
                "Choose the same as before, or show your name."
            )
        return found
    new_id = pseudonym_id or uuid7()
    name = draw_name(set(Pseudonym.objects.filter(thread=thread).values_list("name", flat=True)), new_id)
    return Pseudonym.objects.create(
        id=new_id, institution_id=thread.institution_id, thread=thread, user=member.user, name=name
    )


def draw_name(taken: Collection[str], pseudonym_id: uuid.UUID) -> str:
    """Return a name that isn't taken, by chance alone; one made from the id when all are."""
    start = uuid.uuid4().int
    count = len(_MOODS) * len(_ANIMALS)
    for step in range(count):
        mood, animal = divmod((start + step) % count, len(_ANIMALS))
        name = f"{_MOODS[mood]} {_ANIMALS[animal]}"
        if name not in taken:
            return name
    return f"Quokka {pseudonym_id.hex[-8:]}"


def editor_shown(by: Member, writing: Writing) -> Member | None:
    """Return who may be named as the one who changed `writing`: nobody, when the author did and hides."""
    return None if writing.is_by(by) and writing.anonymity != Anonymity.NAMED else by


def lock_thread_row(thread: Thread) -> Thread:
    """Return the thread's row as it is now, locked against other writers until the transaction ends."""
    return (
        Thread.objects.select_for_update(no_key=True, of=("self",)).select_related("course", "author").get(pk=thread.pk)
    )


@transaction.atomic
def edit_thread(
    *,
    by: Member,
    thread: Thread,
    title: str,
    body: str,
    tags: Collection[Tag],
    assignment: Assignment | None = None,
    uploads: Collection[uuid.UUID] | None = None,
) -> Thread:
    """Change title, text, tags, assignment and, if given, files (`uploads`, all of their keys); what it said before is kept as a revision."""
    thread = lock_thread_row(thread)
    access.require_edit(by, thread)
    shown = editor_shown(by, thread)
    if (thread.title, thread.body) != (title, body):
        Revision.objects.create(
            institution_id=thread.institution_id, thread=thread, editor=shown.user if shown else None,
            title=thread.title, body=thread.body,
        )  # fmt: skip
        thread.title = title
        people = people_called(thread, body)
        thread.set_body(body, names=people)
        thread.edited_at = timezone.now()
        thread.save(update_fields=["title", "body", "body_html", "html_version", "edited_at"])
        audit("thread.edited", thread, by=shown.user if shown else None, course=by.course)
        thread_changed.send(sender=Thread, thread=thread)
        if thread.is_shown:
            note_mentions(by=by, writing=thread, people=people)
    if uploads is not None and set_attachments(by=by, writing=thread, uploads=uploads):
        thread_changed.send(sender=Thread, thread=thread)
    if thread.assignment_id != (assignment.pk if assignment else None):
        thread.assignment = assignment
        thread.save(update_fields=["assignment"])
    ThreadTag.objects.filter(thread=thread).exclude(tag__in=tags).delete()
    ThreadTag.objects.bulk_create(
        (ThreadTag(institution_id=thread.institution_id, thread=thread, tag=tag) for tag in tags), ignore_conflicts=True
    )
    return thread


@transaction.atomic
def delete_thread(*, by: Member, thread: Thread) -> None:
    """Hide the thread from everybody but those who may restore it."""
    thread = lock_thread_row(thread)
    access.require(access.may_delete(by, thread))
    thread.deleted_at = timezone.now()
    thread.deleted_by = by.user
    thread.save(update_fields=["deleted_at", "deleted_by"])
    shown = editor_shown(by, thread)
    audit("thread.deleted", thread, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=thread)


@transaction.atomic
def restore_thread(*, by: Member, thread: Thread) -> None:
    """Undo a deletion."""
    thread = lock_thread_row(thread)
    access.require(access.may_restore(by, thread))
    thread.deleted_at = thread.deleted_by = None
    thread.save(update_fields=["deleted_at", "deleted_by"])
    shown = editor_shown(by, thread)
    audit("thread.restored", thread, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=thread)


@transaction.atomic
def set_resolved(*, by: Member, thread: Thread, resolved: bool) -> None:
    """Say that a thread is settled, or that it isn't after all (which also takes back the accepted answer)."""
    thread = lock_thread_row(thread)
    access.require(access.may_resolve(by, thread))
    if resolved:
        thread.status = Status.RESOLVED
    else:
        thread.accepted_post = None
        thread.status = unsettled_status(thread)
    thread.save(update_fields=["status", "accepted_post"])
    shown = editor_shown(by, thread)
    verb = "thread.resolved" if resolved else "thread.reopened"
    audit(verb, thread, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=thread)


@transaction.atomic
def set_pinned(*, by: Member, thread: Thread, pinned: bool) -> None:
    """Keep a thread at the top of the list, or let it go."""
    access.require(access.may_moderate(by))
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at)
    thread.is_pinned = pinned
    thread.save(update_fields=["is_pinned"])
    audit("thread.pinned" if pinned else "thread.unpinned", thread, by=by.user, course=by.course)


@transaction.atomic
def set_locked(*, by: Member, thread: Thread, locked: bool) -> None:
    """Close a thread for replies of students, or open it again."""
    access.require(access.may_moderate(by))
    thread = lock_thread_row(thread)
    access.require(not thread.deleted_at)
    thread.is_locked = locked
    thread.save(update_fields=["is_locked"])
    audit("thread.locked" if locked else "thread.unlocked", thread, by=by.user, course=by.course)


def unsettled_status(thread: Thread) -> Status:
    """Return what a thread is when nobody has settled it: answered once another person replied or staff endorsed."""
    answers = Post.objects.filter(thread=thread, parent=None, deleted_at=None, moderation=Moderation.SHOWN)
    if thread.author_id is not None:
        answers = answers.exclude(author_id=thread.author_id)
    return Status.ANSWERED if thread.endorsement_count or answers.exists() else Status.OPEN


@transaction.atomic
def refresh_status(thread: Thread) -> None:
    """Bring `open` and `answered` in line with what stands in the thread; a settled one stays settled."""
    thread = lock_thread_row(thread)
    if thread.status != Status.RESOLVED and thread.kind != Kind.ANNOUNCEMENT:
        status = unsettled_status(thread)
        if status != thread.status:
            thread.status = status
            thread.save(update_fields=["status"])
