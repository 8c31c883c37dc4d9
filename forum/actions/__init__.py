"""What people do in the forum. Every action is atomic, checks who does it, and writes an audit row where staff would ask."""

from forum.actions.drafts import DRAFT_FIELDS, delete_view, discard_draft, save_draft, save_view
from forum.actions.following import follow, set_follow
from forum.actions.incoming import receive_mail
from forum.actions.mailing import (
    act_on_unsubscribe,
    compose_mail,
    enqueue_due_mail,
    enqueue_unsent_mail,
    fail_mail,
    read_unsubscribe,
    send_mail,
)
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
    "DEFAULTS", "DRAFT_FIELDS", "Choice", "ThreadDraft", "accept_answer", "act_on_unsubscribe", "add_reply", "add_staff_note",
    "compose_mail", "count_readers", "delete_post", "delete_staff_note", "delete_thread", "delete_view",
    "discard_draft", "edit_post", "edit_thread", "enqueue_due_mail", "enqueue_telling", "enqueue_unsent_mail",
    "fail_mail", "follow", "mark_all_told_read", "mark_read", "mark_told_read", "preferences_of",
    "read_unsubscribe", "receive_mail", "refresh_status", "restore_post", "restore_thread", "save_draft",
    "save_view", "send_mail", "set_endorsement", "set_follow", "set_locked", "set_pinned", "set_preferences",
    "set_resolved", "set_same_question", "set_vote", "start_thread", "stop_all_mail", "tell",
]  # fmt: skip
