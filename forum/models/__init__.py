"""Threads, posts, and what people do with them."""

from forum.models.assignments import Assignment
from forum.models.attachments import MAX_ATTACHMENTS, Attachment
from forum.models.drafts import MAX_SAVED_VIEWS, Draft, SavedView
from forum.models.facts import AnswerFact, FactsDue, QuestionFact
from forum.models.following import Follow, FollowState
from forum.models.mails import InboundMail, InboundOutcome, Mail, MailState, ReplyAddress
from forum.models.mentions import Mention
from forum.models.moderation import Flag, FlagReason, FlagStatus, Merge, ResponseTemplate, ThreadAlias
from forum.models.notes import StaffNote
from forum.models.notifications import (
    DESPITE_MUTE,
    STAFF_KINDS,
    Delivery,
    Notification,
    NotificationKind,
    Preference,
)
from forum.models.posts import Post, Revision
from forum.models.reactions import Endorsement, SameQuestion, Vote
from forum.models.searching import Deflection, SearchEntry, ThreadVector
from forum.models.threads import Kind, Status, Tag, Thread, ThreadRead, ThreadTag, Visibility
from forum.models.writing import MAX_BODY, MAX_TITLE, MIN_TITLE, Anonymity, Byline, Moderation, Pseudonym, Writing

__all__ = [
    "DESPITE_MUTE",
    "MAX_ATTACHMENTS",
    "MAX_BODY",
    "MAX_SAVED_VIEWS",
    "MAX_TITLE",
    "MIN_TITLE",
    "STAFF_KINDS",
    "Anonymity",
    "AnswerFact",
    "Assignment",
    "Attachment",
    "Byline",
    "Deflection",
    "Delivery",
    "Draft",
    "Endorsement",
    "FactsDue",
    "Flag",
    "FlagReason",
    "FlagStatus",
    "Follow",
    "FollowState",
    "InboundMail",
    "InboundOutcome",
    "Kind",
    "Mail",
    "MailState",
    "Mention",
    "Merge",
    "Moderation",
    "Notification",
    "NotificationKind",
    "Post",
    "Preference",
    "Pseudonym",
    "QuestionFact",
    "ReplyAddress",
    "ResponseTemplate",
    "Revision",
    "SameQuestion",
    "SavedView",
    "SearchEntry",
    "StaffNote",
    "Status",
    "Tag",
    "Thread",
    "ThreadAlias",
    "ThreadRead",
    "ThreadTag",
    "ThreadVector",
    "Visibility",
    "Vote",
    "Writing",
]  # fmt: skip
