"""Threads, posts, and what people do with them."""

from forum.models.posts import Post, Revision
from forum.models.reactions import Endorsement, Vote
from forum.models.threads import Kind, Status, Tag, Thread, ThreadRead, ThreadTag, Visibility
from forum.models.writing import MAX_BODY, MAX_TITLE, MIN_TITLE, Anonymity, Byline, Pseudonym, Writing

__all__ = [
    "MAX_BODY", "MAX_TITLE", "MIN_TITLE", "Anonymity", "Byline", "Endorsement", "Kind", "Post", "Pseudonym", "Revision",
    "Status", "Tag", "Thread", "ThreadRead", "ThreadTag", "Visibility", "Vote", "Writing",
]  # fmt: skip
