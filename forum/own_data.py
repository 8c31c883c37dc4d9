"""What the forum keeps about people: see `accounts.privacy`."""

from typing import Any

from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import Lag

from accounts.actions import detach_uploads
from accounts.models import User
from accounts.privacy import (
    BATCH,
    Changed,
    Gone,
    PersonalData,
    Reference,
    Stays,
    erase_first,
    not_personal,
    refer,
    register,
)
from accounts.retention import Retained, retain
from forum.models import (
    Anonymity,
    AnswerFact,
    Assignment,
    Attachment,
    Deflection,
    Draft,
    Endorsement,
    FactsDue,
    Flag,
    Follow,
    InboundMail,
    Mail,
    MailState,
    Mention,
    Merge,
    Notification,
    Post,
    Preference,
    Pseudonym,
    QuestionFact,
    ReplyAddress,
    ResponseTemplate,
    Revision,
    SameQuestion,
    SavedView,
    SearchEntry,
    StaffNote,
    Tag,
    Thread,
    ThreadAlias,
    ThreadRead,
    ThreadTag,
    ThreadVector,
    Vote,
)

_COURSE = {"of_course": "course__slug"}
_THREAD = {"of_course": "thread__course__slug", "thread_number": "thread__number"}
_POST = {"of_course": "post__thread__course__slug", "thread_number": "post__thread__number"}
_STAFF_DECIDED = {
    "moderated_by": "it is about staff",
    "moderated_at": "it is about staff",
    "deleted_by": "it may be staff",
}
_ASSIGNED = {"assignee": "it is about staff", "assigned_at": "it is about staff"}
_POSTS_STAY = "what you posted stays, under “Deleted user” or the pseudonym you used"


def own_revisions(person: User) -> Any:
    """Return earlier versions of texts that the person wrote: each holds what the edit before it left, or the first text."""
    before = Window(Lag("editor_id"), partition_by=[F("thread_id"), F("post_id")], order_by=[F("created_at"), F("id")])
    mine = Revision.objects.filter(Q(thread__author=person) | Q(post__author=person)).annotate(written_by=before)
    # Under a pseudonym no editor is noted; it is their text.
    return mine.filter(Q(written_by=None) | Q(written_by=person.pk))


def _of(model: Any) -> Any:
    return lambda person: model.objects.filter(user=person)


def register_own_data() -> None:
    """Say all of it, once the apps are there."""
    register(
        PersonalData(
            "threads", "Threads you started", Thread, ("author",), lambda person: Thread.objects.filter(author=person),
            Stays(_POSTS_STAY), without={**_STAFF_DECIDED, **_ASSIGNED}, also={"of_course": "course__slug", "called": "pseudonym__name"},
            explains="Also those of courses you have left, and those you deleted.",
        ),
        PersonalData(
            "posts", "Replies and comments you wrote", Post, ("author",), lambda person: Post.objects.filter(author=person),
            Stays(_POSTS_STAY), without=_STAFF_DECIDED, also={**_THREAD, "called": "pseudonym__name"},
            explains="What others wrote around them isn't yours, so it isn't here.",
        ),
        PersonalData(
            "revisions", "What your texts said before they were edited", Revision, ("editor",), own_revisions,
            Stays(_POSTS_STAY), without={"editor": "it may be staff"},
        ),
        PersonalData(
            "pseudonyms", "Names you went by where you hid yours", Pseudonym, ("user",), _of(Pseudonym),
            Stays("so that what is under it looks as it did"), also=_THREAD,
        ),
        PersonalData(
            "attachments", "Where your files stand", Attachment, (), lambda person: Attachment.objects.filter(upload__owner=person),
            Stays("the text says that a file was removed; under a pseudonym nothing does"),
        ),
        PersonalData("drafts", "Drafts", Draft, ("user",), _of(Draft), Gone(), also=_COURSE),
        PersonalData("saved_views", "Saved views", SavedView, ("user",), _of(SavedView), Gone(), also=_COURSE),
        PersonalData("votes", "Votes", Vote, ("user",), _of(Vote), Gone()),
        PersonalData(
            "same_questions", "Questions you have too", SameQuestion, ("user",), _of(SameQuestion), Gone(), also=_THREAD
        ),
        PersonalData(
            "endorsements", "Answers you endorsed", Endorsement, ("endorser",),
            lambda person: Endorsement.objects.filter(endorser=person),
            Stays("they say what staff of the course stood by"), also=_POST,
            explains="Points are counted from your posts, endorsements and what others did with them; they are kept nowhere.",
        ),
        PersonalData("follows", "Threads you follow or muted", Follow, ("user",), _of(Follow), Gone(), also=_THREAD),
        PersonalData("reads", "Threads you have read", ThreadRead, ("user",), _reads, Gone(), also=_THREAD),
        PersonalData(
            "mentions", "Where you were called by name", Mention, ("user",), _of(Mention), Gone(), also=_THREAD,
            explains="The texts are others'.",
        ),
        PersonalData(
            "notifications", "Notifications", Notification, ("user",), _of(Notification), Gone(),
            without={"actor": "it is somebody else"}, also=_COURSE,
        ),
        PersonalData("preferences", "How you want to be told", Preference, ("user",), _of(Preference), Gone()),
        PersonalData(
            "mails", "Mails to you", Mail, ("user",), _of(Mail), Gone(),
            without={
                "text": "it quotes others, and you have it in your mailbox",
                "html": "it quotes others, and you have it in your mailbox",
                "subject": "it quotes others, and you have it in your mailbox",
                "headers": "they hold secret addresses",
            },
        ),
        PersonalData(
            "reply_addresses", "Addresses that take your replies", ReplyAddress, ("user",), _of(ReplyAddress), Gone(),
            without={"key": "whoever knows it could write as you"}, also=_THREAD,
        ),
        PersonalData("replies_by_mail", "Mails you sent us", InboundMail, ("user",), _of(InboundMail), Gone(), also=_THREAD),
        PersonalData(
            "flags", "What you flagged", Flag, ("user",), _of(Flag),
            Changed({"user": None, "details": ""}, "staff go on seeing that it was flagged, and for what reason"),
            without={
                "decided_by": "it is about staff", "decided_at": "it is about staff", "decision": "staff wrote it",
            },
            also=_THREAD,
        ),
        PersonalData(
            "deflections", "Questions you didn't have to ask", Deflection, ("user",), _of(Deflection),
            Stays("it is a count: what was asked isn't kept"), also=_COURSE,
        ),
        PersonalData(
            "staff_notes", "Notes you wrote for other staff", StaffNote, ("author",),
            lambda person: StaffNote.objects.filter(author=person), Stays("staff of the course work with them"), also=_THREAD,
            explains="Notes others wrote about you aren't here: they are theirs.",
        ),
        PersonalData(
            "response_templates", "Templates you wrote for staff", ResponseTemplate, ("created_by",),
            lambda person: ResponseTemplate.objects.filter(created_by=person), Stays("the course goes on using them"), also=_COURSE,
        ),
    )  # fmt: skip
    shown = "what staff did, for the course; it shows “Deleted user”"
    refer(
        Reference(Thread, "assignee", "a task nobody is left to do", {"assignee": None, "assigned_at": None}),
        *(Reference(model, name, shown) for model in (Thread, Post) for name in ("deleted_by", "moderated_by")),
        Reference(Flag, "decided_by", shown),
        Reference(Merge, "by", shown),
        Reference(Merge, "undone_by", shown),
        Reference(Notification, "actor", shown),
        Reference(AnswerFact, "person", "it is made from answers, and is counted to nobody who is erased"),
    )
    made = "it is made from texts, and goes and changes with them"
    course = "it belongs to the course"
    not_personal({
        Assignment: course, Tag: course, ThreadTag: course, ThreadAlias: course, Merge: "what staff did: see the audit log",
        SearchEntry: made, ThreadVector: made, QuestionFact: made, AnswerFact: made, FactsDue: made,
    })  # fmt: skip
    retain(
        Retained(
            "notifications", "What people were told.",
            lambda before: Notification.objects.filter(created_at__lt=before),
        ),
        Retained(
            "mails", "Mails that were sent.",
            lambda before: Mail.objects.filter(created_at__lt=before).exclude(state=MailState.QUEUED),
        ),
        # Longer than any server delivers one again.
        Retained(
            "mails_in", "Notes of mails that came in.", lambda before: InboundMail.objects.filter(created_at__lt=before)
        ),
        Retained(
            "drafts", "Drafts nobody went on with.", lambda before: Draft.objects.filter(updated_at__lt=before)
        ),
        Retained(
            "deflections", "Questions that needn't be asked.", lambda before: Deflection.objects.filter(created_at__lt=before)
        ),
    )  # fmt: skip
    erase_first(_take_files_off_hidden_texts)


def _reads(person: User) -> Any:
    return ThreadRead.objects.filter(user=person)


def _take_files_off_hidden_texts(person: User) -> int:
    """Take the next files off what the person wrote under a pseudonym, as if they had done so: no line says it was there."""
    hidden = Attachment.objects.filter(upload__owner=person).exclude(
        Q(thread__anonymity=Anonymity.NAMED) | Q(post__anonymity=Anonymity.NAMED)
    )
    with transaction.atomic():
        rows = list(hidden.select_related("upload").order_by("pk")[:BATCH])
        Attachment.objects.filter(pk__in=[row.pk for row in rows]).delete()
        detach_uploads(row.upload for row in rows)
    return len(rows)
