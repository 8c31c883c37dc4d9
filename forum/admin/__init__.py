"""Django admin for the forum. It shows nothing the pages hide, and moderates through the same actions."""

from forum.admin import courses, moderation, notifications, reactions
from forum.admin.base import ModeratedAdmin
from forum.admin.writings import PostAdmin, ThreadAdmin

__all__ = ["ModeratedAdmin", "PostAdmin", "ThreadAdmin", "courses", "moderation", "notifications", "reactions"]
