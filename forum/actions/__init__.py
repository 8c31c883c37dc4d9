"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.assigning import assign_thread
from forum.actions.bulk import BULK_ACTS, MAX_BULK, Act, assigning, do_to_threads, sorting, tagging
from forum.actions.course_parts import add_tag, delete_assignment, delete_tag, rename_tag, save_assignment
from forum.actions.drafts import DRAFT_FIELDS, delete_view, discard_draft, save_draft, save_view
from forum.actions.notes import add_staff_note, delete_staff_note
from forum.actions.posts import accept_answer, add_reply, delete_post, edit_post, restore_post
from forum.actions.reactions import set_endorsement, set_same_question, set_vote
from forum.actions.reading import count_readers, mark_read
from forum.actions.templates import delete_template, save_template
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
    "BULK_ACTS",
    "DRAFT_FIELDS",
    "MAX_BULK",
    "Act",
    "ThreadDraft",
    "accept_answer",
    "add_reply",
    "add_staff_note",
    "add_tag",
    "assign_thread",
    "assigning",
    "count_readers",
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
    "mark_read",
    "refresh_status",
    "rename_tag",
    "restore_post",
    "restore_thread",
    "save_assignment",
    "save_draft",
    "save_template",
    "save_view",
    "set_endorsement",
    "set_locked",
    "set_pinned",
    "set_resolved",
    "set_same_question",
    "set_vote",
    "sorting",
    "start_thread",
    "tagging",
]  # fmt: skip
