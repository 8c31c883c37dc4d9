"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.assigning import assign_thread
from forum.actions.bulk import BULK_ACTS, MAX_BULK, Act, assigning, do_to_threads, sorting, tagging
from forum.actions.course_parts import add_tag, delete_assignment, delete_tag, rename_tag, save_assignment
from forum.actions.deflecting import record_deflection
from forum.actions.drafts import DRAFT_FIELDS, DRAFT_LISTS, delete_view, discard_draft, save_draft, save_view
from forum.actions.flags import Decision, decide_flags, flag_text
from forum.actions.following import follow, set_follow
from forum.actions.incoming import receive_mail
from forum.actions.indexing import enqueue_indexing, enqueue_missing_threads, index_thread, index_threads
from forum.actions.mailing import (
    act_on_unsubscribe,
    compose_mail,
    enqueue_due_mail,
    enqueue_unsent_mail,
    fail_mail,
    institution_of_unsubscribe,
    read_unsubscribe,
    send_mail,
)
from forum.actions.merging import merge_threads, undo_merge, why_no_merge
from forum.actions.moderation import approve_all, approve_text, hide_text, set_duplicate, unhide_text
from forum.actions.moving import move_thread, open_thread, refile_thread, why_no_move
from forum.actions.notes import add_staff_note, delete_staff_note
from forum.actions.posts import accept_answer, add_reply, delete_post, edit_post, restore_post
from forum.actions.reactions import set_endorsement, set_same_question, set_vote
from forum.actions.reading import count_readers, mark_read
from forum.actions.telling import (
    DEFAULTS,
    Choice,
    enqueue_telling,
    mark_all_told_read,
    mark_told_read,
    preferences_of,
    set_preferences,
    stop_all_mail,
    tell,
)
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
    "DEFAULTS",
    "DRAFT_FIELDS",
    "DRAFT_LISTS",
    "MAX_BULK",
    "Act",
    "Choice",
    "Decision",
    "ThreadDraft",
    "accept_answer",
    "act_on_unsubscribe",
    "add_reply",
    "add_staff_note",
    "add_tag",
    "approve_all",
    "approve_text",
    "assign_thread",
    "assigning",
    "compose_mail",
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
    "enqueue_due_mail",
    "enqueue_indexing",
    "enqueue_missing_threads",
    "enqueue_telling",
    "enqueue_unsent_mail",
    "fail_mail",
    "find_sent",
    "flag_text",
    "follow",
    "hide_text",
    "index_thread",
    "index_threads",
    "institution_of_unsubscribe",
    "mark_all_told_read",
    "mark_read",
    "mark_told_read",
    "merge_threads",
    "move_thread",
    "open_thread",
    "preferences_of",
    "read_unsubscribe",
    "receive_mail",
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
    "send_mail",
    "set_duplicate",
    "set_endorsement",
    "set_follow",
    "set_locked",
    "set_pinned",
    "set_preferences",
    "set_resolved",
    "set_same_question",
    "set_vote",
    "sorting",
    "start_thread",
    "stop_all_mail",
    "tagging",
    "tell",
    "undo_merge",
    "unhide_text",
    "why_no_merge",
    "why_no_move",
]
