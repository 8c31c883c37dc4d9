"""Who follows, and who is told, when something happens. Called inside the transaction of what happened."""

from collections.abc import Collection
from typing import Any

from django.dispatch import receiver

from accounts.access import Member
from accounts.models import User
from forum import actions
from forum.actions.threads import editor_shown
from forum.models import Flag, Kind, Mention, NotificationKind, Post, SameQuestion, Thread
from forum.signals import (
    answer_accepted,
    people_mentioned,
    post_added,
    post_endorsed,
    same_question_asked,
    text_decided,
    text_flagged,
    text_pending,
    thread_assigned,
    thread_started,
)


@receiver(thread_started, dispatch_uid="forum.tell_of_thread")
def tell_of_thread(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    if thread.author is not None:
        actions.follow(user=thread.author, thread=thread)
    if thread.kind == Kind.ANNOUNCEMENT:
        actions.enqueue_telling(NotificationKind.ANNOUNCEMENT, thread=thread)


@receiver(thread_started, dispatch_uid="forum.index_thread")
def index_thread(sender: type[Thread], thread: Thread, **kwargs: Any) -> None:
    actions.enqueue_indexing(thread=thread)


@receiver(post_added, dispatch_uid="forum.tell_of_post")
def tell_of_post(sender: type[Post], post: Post, **kwargs: Any) -> None:
    if post.author is not None:
        actions.follow(user=post.author, thread=post.thread)
    actions.enqueue_telling(NotificationKind.REPLY, thread=post.thread, post=post)


@receiver(same_question_asked, dispatch_uid="forum.follow_same_question")
def follow_same_question(sender: type[SameQuestion], thread: Thread, by: Member, **kwargs: Any) -> None:
    actions.follow(user=by.user, thread=thread)


@receiver(post_endorsed, dispatch_uid="forum.tell_of_endorsement")
def tell_of_endorsement(sender: type[Post], post: Post, by: Member, **kwargs: Any) -> None:
    actions.enqueue_telling(NotificationKind.ENDORSEMENT, thread=post.thread, post=post, actor=by.user)


@receiver(answer_accepted, dispatch_uid="forum.tell_of_acceptance")
def tell_of_acceptance(sender: type[Post], post: Post, by: Member, **kwargs: Any) -> None:
    """Name nobody but staff who act openly: the asker may hide, and whoever isn't named is the asker."""
    shown = editor_shown(by, post.thread) if by.is_staff else None
    actions.enqueue_telling(
        NotificationKind.ACCEPTED, thread=post.thread, post=post, actor=shown.user if shown else None
    )


@receiver(people_mentioned, dispatch_uid="forum.tell_of_mentions")
def tell_of_mentions(
    sender: type[Mention], thread: Thread, post: Post | None, people: Collection[User], by: Member, **kwargs: Any
) -> None:
    """Say only where: who is called stands in the rows of `Mention`, and not in the list of tasks."""
    actions.enqueue_telling(NotificationKind.MENTION, thread=thread, post=post)


@receiver(text_flagged, dispatch_uid="forum.tell_of_flag")
def tell_of_flag(sender: type[Flag], flag: Flag, **kwargs: Any) -> None:
    actions.enqueue_telling(NotificationKind.FLAGGED, thread=flag.thread, post=flag.post)


@receiver(text_pending, dispatch_uid="forum.tell_of_pending")
def tell_of_pending(sender: type[Thread | Post], writing: Thread | Post, **kwargs: Any) -> None:
    thread, post = _place_of(writing)
    actions.enqueue_telling(NotificationKind.PENDING, thread=thread, post=post)


@receiver(text_decided, dispatch_uid="forum.tell_of_decision")
def tell_of_decision(sender: type[Thread | Post], writing: Thread | Post, by: Member, **kwargs: Any) -> None:
    thread, post = _place_of(writing)
    actions.enqueue_telling(NotificationKind.DECISION, thread=thread, post=post, actor=by.user)


@receiver(thread_assigned, dispatch_uid="forum.tell_of_assignment")
def tell_of_assignment(sender: type[Thread], thread: Thread, to: User, by: Member, **kwargs: Any) -> None:
    actions.enqueue_telling(NotificationKind.ASSIGNED, thread=thread, actor=by.user, to=to)


def _place_of(writing: Thread | Post) -> tuple[Thread, Post | None]:
    return (writing.thread, writing) if isinstance(writing, Post) else (writing, None)
