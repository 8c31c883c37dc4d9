"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.deflecting import record_deflection
from forum.actions.drafts import DRAFT_FIELDS, delete_view, discard_draft, save_draft, save_view
from forum.actions.flags import Decision, decide_flags, flag_text
from forum.actions.merging import merge_threads, undo_merge, why_no_merge
from forum.actions.moderation import approve_all, approve_text, hide_text, set_duplicate, unhide_text
from forum.actions.moving import move_thread, open_thread, refile_thread, why_no_move
from forum.actions.notes import add_staff_note, delete_staff_note
from forum.actions.posts import accept_answer, add_reply, delete_post, edit_post, restore_post
from forum.actions.reactions import set_endorsement, set_same_question, set_vote
from forum.actions.reading import count_readers, mark_read
from forum.actions.threads import (
    ThreadDraft,
    delete_thread,
    edit_thread,
    find_sent,
    refresh_status,
    restore_thread,
    set_locked,
    set_pinned,
    set_resolved,
    start_thread,
)

__all__ = [
    "DRAFT_FIELDS",
    "Decision",
    "ThreadDraft",
    "accept_answer",
    "add_reply",
    "add_staff_note",
    "approve_all",
    "approve_text",
    "count_readers",
    "decide_flags",
    "delete_post",
    "delete_staff_note",
    "delete_thread",
    "delete_view",
    "discard_draft",
    "edit_post",
    "edit_thread",
    "find_sent",
    "flag_text",
    "hide_text",
    "mark_read",
    "merge_threads",
    "move_thread",
    "open_thread",
    "record_deflection",
    "refile_thread",
    "refresh_status",
    "restore_post",
    "restore_thread",
    "save_draft",
    "save_view",
    "set_duplicate",
    "set_endorsement",
    "set_locked",
    "set_pinned",
    "set_resolved",
    "set_same_question",
    "set_vote",
    "start_thread",
    "undo_merge",
    "unhide_text",
    "why_no_merge",
    "why_no_move",
]  # fmt: skip
