"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.assigning import assign_thread
from forum.actions.bulk import BULK_ACTS, MAX_BULK, Act, assigning, do_to_threads, sorting, tagging
from forum.actions.course_parts import add_tag, delete_assignment, delete_tag, rename_tag, save_assignment
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
from forum.actions.templates import delete_template, save_template
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
    "BULK_ACTS",
    "DRAFT_FIELDS",
    "MAX_BULK",
    "Act",
    "Decision",
    "ThreadDraft",
    "accept_answer",
    "add_reply",
    "add_staff_note",
    "add_tag",
    "approve_all",
    "approve_text",
    "assign_thread",
    "assigning",
    "count_readers",
    "decide_flags",
    "delete_assignment",
    "delete_post",
    "delete_staff_note",
    "delete_tag",
    "delete_template",
    "delete_thread",
    "delete_view",
    "discard_draft",
    "do_to_threads",
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
    "rename_tag",
    "restore_post",
    "restore_thread",
    "save_assignment",
    "save_draft",
    "save_template",
    "save_view",
    "set_duplicate",
    "set_endorsement",
    "set_locked",
    "set_pinned",
    "set_resolved",
    "set_same_question",
    "set_vote",
    "sorting",
    "start_thread",
    "tagging",
    "undo_merge",
    "unhide_text",
    "why_no_merge",
    "why_no_move",
]  # fmt: skip
