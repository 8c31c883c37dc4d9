"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.posts import accept_answer, add_reply, delete_post, edit_post, restore_post
from forum.actions.reactions import set_endorsement, set_vote
from forum.actions.reading import count_readers, mark_read
from forum.actions.threads import (
    ThreadDraft,
    delete_thread,
    edit_thread,
    refresh_status,
    restore_thread,
    set_locked,
    set_pinned,
    set_resolved,
    start_thread,
)

__all__ = [
    "ThreadDraft", "accept_answer", "add_reply", "count_readers", "delete_post", "delete_thread", "edit_post",
    "edit_thread", "mark_read", "refresh_status", "restore_post", "restore_thread", "set_endorsement", "set_locked",
    "set_pinned", "set_resolved", "set_vote", "start_thread",
]  # fmt: skip
