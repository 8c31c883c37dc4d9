"""The cards of a thread page: the question, and each reply with its comments, rendered once for everything they show.

A card's key holds every column that was read of its texts, their authors and files, and of what the reader is and may do all
that the rules go by (`forum.access`). Who may do the same is shown the same card; whatever changes makes another key.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString

from accounts.access import Member
from accounts.uploading import no_files
from forum import access
from forum.forms import ReplyForm
from forum.models import Attachment, Draft, Post, Thread, Writing
from quokkaq.lib.fragments import filled, hole, joined, kept_fragment
from quokkaq.lib.times import clock

# What is read of a post, and of what is joined to it.
POST_COLUMNS = (
    "thread_id", "parent_id", "author_id", "anonymity", "pseudonym_id", "body_html", "html_version", "created_at",
    "edited_at", "deleted_at", "deleted_by_id", "moderation", "moderation_reason", "vote_count", "endorsement_count",
    "is_by_staff",
)  # fmt: skip
AUTHOR_COLUMNS = ("display_name", "avatar", "erased_at")
_of_post = itemgetter("id", *POST_COLUMNS, "my_vote")
_of_author = itemgetter("id", *AUTHOR_COLUMNS)
# Not of a thread's text: what only lists and counts go by.
_NOT_SHOWN = ("_state", "tag_pairs", "body", "last_activity_at", "my_read_at", "my_told", "has_merged")


@dataclass
class Shown:
    """What a thread page shows of a thread, to one reader, beside its replies."""

    member: Member
    thread: Thread
    attached: Mapping[object, list[Attachment]]
    drafts: Mapping[UUID | None, Draft]
    flags: Mapping[Any, int]
    # Of the empty form, which comments take their choices from.
    anonymity: str
    holes: Mapping[str, str]
    context: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        member, thread, self._ago = self.member, self.thread, clock()
        course = member.course
        self._page: tuple[Hashable, ...] = (
            course.slug, course.code, course.anonymity_policy, member.is_staff, member.role, member.may_write,
            member.posting_closed, member.needs_approval, thread.number, thread.kind, thread.status, thread.visibility,
            thread.moderation, thread.is_locked, thread.deleted_at, thread.merged_into_id, thread.is_by(member),
            access.why_no_reply(member, thread), self.anonymity, str(timezone.get_current_timezone()),
        )  # fmt: skip
        self.context |= {
            "member": member,
            "thread": thread,
            "slug": course.slug,
            "attached": self.attached,
            "drafts": self.drafts,
            "flags": self.flags,
            "no_files": no_files(member),
            "csrf_token": hole("csrf"),
            "empty_form": SimpleLazyObject(self._empty_form),
            "refused_comment": None,
            "refused_parent": None,
        }

    def _empty_form(self) -> ReplyForm:
        return ReplyForm(
            member=self.member, anonymity=self.anonymity, initial={"form_key": hole("form_key")}, auto_id="reply_%s"
        )

    def filled(self, cards: Iterable[SafeString]) -> SafeString:
        """Return cards one after another, with their holes filled."""
        return filled(joined(cards), self.holes)

    def answer(self, post: Post, comments: Sequence[Post]) -> SafeString:
        """Return the card of a reply with the comments that the reader is shown under it, its holes open."""
        context = self.context | {"post": post, "comments": comments}
        texts = [self._text(text) for text in (post, *comments)]
        if None in texts:  # it stands for a reply that the reader may not see
            return render_to_string("forum/_answer.html", context)
        draft = self.drafts.get(post.pk)
        kept = tuple(sorted((name, str(value)) for name, value in draft.fields.items())) if draft else None
        key = (self._page, post.pk == self.thread.accepted_post_id, kept, *texts)
        return kept_fragment("forum/_answer.html", key, context, {})

    def question(self, **others: Any) -> SafeString:
        """Return the card of the thread's own text; `others` is what else it shows."""
        if self.member.is_staff:  # their menus hold people and places that change, and they are few
            return filled(render_to_string("forum/_question.html", self.context | others), self.holes)
        thread, values = self.thread, self.thread.__dict__
        shown = tuple((name, value) for name, value in values.items() if name not in _NOT_SHOWN)
        tags = tuple(map(tuple, thread.tag_pairs))
        duplicate, assignee = others.get("duplicate"), others.get("assignee")
        key = (
            self._page, shown, tags, self._around(thread), self.member.user.pk == thread.author_id,
            duplicate and (duplicate.number, duplicate.title),
            assignee and (assignee.pk, assignee.display_name, assignee.pk == self.member.user.pk),
        )  # fmt: skip
        return kept_fragment("forum/_question.html", key, self.context | others, self.holes)

    def reply_box(self) -> SafeString:
        """Return the empty form for a reply, as it is offered to who has written nothing yet."""
        context = self.context | {
            "reply_form": self.context["empty_form"], "draft": None, "files": self.context["no_files"],
            "response_templates": [],
        }  # fmt: skip
        return kept_fragment("forum/_reply_form.html", self._page, context, self.holes)

    def filled_reply_box(self, others: Mapping[str, Any]) -> SafeString:
        """Return the form for a reply with what stands in it: typed, kept or refused."""
        return filled(render_to_string("forum/_reply_form.html", self.context | dict(others)), self.holes)

    def refused_answer(self, post: Post, comments: Sequence[Post], others: Mapping[str, Any]) -> SafeString:
        """Return the card of a reply with a comment that was refused under it, its holes open."""
        context = self.context | {"post": post, "comments": comments} | dict(others)
        return render_to_string("forum/_answer.html", context)

    def _text(self, text: Post) -> tuple[Hashable, ...] | None:
        values = text.__dict__
        if "endorsers" not in values:
            return None
        me = self.member.user.pk
        endorsers = tuple([(one["key"], one["name"], one["role"], one["is_gone"]) for one in text.endorsers])
        mine = any(one[0] == str(me) for one in endorsers)
        return (_of_post(values), text.deleted_by_id == me, endorsers, mine, *self._around(text))

    def _around(self, text: Writing) -> tuple[Hashable, ...]:
        """Return what belongs to a text without standing in its row."""
        author, pseudonym = text.author, text.pseudonym
        files = self.attached.get(text.pk, ())
        return (
            text.is_by(self.member), author and _of_author(author.__dict__), pseudonym and pseudonym.name,
            self._ago(text.created_at), self.flags.get(text.pk if isinstance(text, Post) else None, 0),
            tuple([
                (item.pk, item.shown_name, item.upload.state, item.upload.content_type, item.upload.size,
                 item.upload.width, item.upload.height, item.upload.rejection)
                for item in files
            ]),
        )  # fmt: skip
