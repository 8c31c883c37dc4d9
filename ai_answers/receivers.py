"""What the AI does when something happens in the forum."""

import contextlib
import uuid
from typing import Any

from django.dispatch import receiver

from accounts.models import Course, Purpose, Upload
from accounts.signals import upload_checked
from ai_answers import actions
from forum.models import Kind, Merge, Post, Thread
from forum.signals import (
    answer_accepted,
    merge_undone,
    post_endorsed,
    text_decided,
    thread_changed,
    thread_moved,
    thread_refiled,
    thread_started,
    threads_merged,
)


@receiver(upload_checked, dispatch_uid="ai_answers.read_checked_file")
def read_checked_file(sender: type[Upload], upload: Upload, **kwargs: Any) -> None:
    """Read the file of a material that was looked into, or say that it was refused."""
    if upload.purpose == Purpose.MATERIAL:
        actions.go_on_with_import(upload)


@receiver(thread_started, dispatch_uid="ai_answers.answer_new_question")
def answer_new_question(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    """Ask for an answer in the transaction that posts the question."""
    if thread.kind == Kind.QUESTION:
        actions.request_answer(thread=thread)


@receiver(thread_started, dispatch_uid="ai_answers.link_conversation")
def link_conversation(sender: type[Thread], thread: Thread, origin: str = "", **kwargs: Any) -> None:
    """Note in a conversation that its owner turned it into a thread."""
    name, _, key = origin.partition(":")
    if name == "conversation":
        with contextlib.suppress(ValueError):
            actions.link_thread(conversation_id=uuid.UUID(key), thread=thread)


@receiver(threads_merged, dispatch_uid="ai_answers.carry_answer")
def carry_answer(sender: type[Merge], merge: Merge, **kwargs: Any) -> None:
    """Let a published answer come along to a thread that has none; which ones changed places is kept with the merge."""
    merge.carried["ai_answers"] = actions.swap_answers(source=merge.source, target=merge.target)


@receiver(merge_undone, dispatch_uid="ai_answers.return_answer")
def return_answer(sender: type[Merge], merge: Merge, **kwargs: Any) -> None:
    """Let every answer go back to where it was written."""
    actions.return_answers(merge.carried.get("ai_answers", {}))


@receiver(thread_moved, dispatch_uid="ai_answers.answer_from_other_materials")
def answer_from_other_materials(sender: type[Thread], thread: Thread, old_course: Course, **kwargs: Any) -> None:
    """Forget an answer from the materials of the course a thread left, and ask for one from its new one's."""
    actions.remove_answer(thread=thread)
    if thread.kind == Kind.QUESTION:
        actions.request_answer(thread=thread)


@receiver(thread_refiled, dispatch_uid="ai_answers.answer_refiled")
def answer_refiled(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    """Answer a discussion that became a question."""
    if thread.kind == Kind.QUESTION:
        actions.request_answer(thread=thread)


@receiver([post_endorsed, answer_accepted], dispatch_uid="ai_answers.follow_vouched_reply")
def follow_vouched_reply(sender: type[Post], post: Post, **kwargs: Any) -> None:
    """Let a thread become a source when staff stand behind a reply."""
    actions.note_thread_change(thread=post.thread)


@receiver([thread_changed, thread_refiled, thread_moved], dispatch_uid="ai_answers.follow_thread")
def follow_thread(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    """Let a source follow its thread: what it says, where it stands, who may read it."""
    actions.note_thread_change(thread=thread)


@receiver(text_decided, dispatch_uid="ai_answers.follow_decision")
def follow_decision(sender: type[Thread | Post], writing: Thread | Post, **kwargs: Any) -> None:
    """Let a source follow what staff hide and show."""
    actions.note_thread_change(thread=writing.thread if isinstance(writing, Post) else writing)


@receiver([threads_merged, merge_undone], dispatch_uid="ai_answers.follow_merge")
def follow_merge(sender: type[Merge], merge: Merge, **kwargs: Any) -> None:
    """Let the sources of both threads follow the replies that changed places."""
    for thread in (merge.source, merge.target):
        actions.note_thread_change(thread=thread)
