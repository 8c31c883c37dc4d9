"""Threads, posts, and what people do with them."""

from forum.models.drafts import MAX_SAVED_VIEWS, Draft, SavedView
from forum.models.mentions import Mention
from forum.models.notes import StaffNote
from forum.models.posts import Post, Revision
from forum.models.reactions import Endorsement, SameQuestion, Vote
from forum.models.searching import Deflection, SearchEntry
from forum.models.threads import Kind, Status, Tag, Thread, ThreadRead, ThreadTag, Visibility
from forum.models.writing import MAX_BODY, MAX_TITLE, MIN_TITLE, Anonymity, Byline, Pseudonym, Writing

__all__ = [
    "MAX_BODY", "MAX_SAVED_VIEWS", "MAX_TITLE", "MIN_TITLE", "Anonymity", "Byline", "Deflection", "Draft", "Endorsement", "Kind",
    "Mention", "Post", "Pseudonym", "Revision", "SameQuestion", "SavedView", "SearchEntry", "StaffNote", "Status", "Tag", "Thread",
    "ThreadRead", "ThreadTag", "Visibility", "Vote", "Writing",
]  # fmt: skip
