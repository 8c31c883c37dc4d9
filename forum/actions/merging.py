"""Bringing two threads that ask the same together, and taking them apart again."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.db import models, transaction
from django.db.models import Max, Q
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from forum import access
from forum.actions.threads import draw_name, refresh_status, unsettled_status
from forum.models import (
    Anonymity,
    Draft,
    Flag,
    Follow,
    Kind,
    Mention,
    Merge,
    Moderation,
    Notification,
    Post,
    Pseudonym,
    SameQuestion,
    StaffNote,
    Status,
    Thread,
    Visibility,
    Vote,
)
from forum.signals import merge_undone, threads_merged
from quokkaq.lib.uuid7 import uuid7

# Rows of the source that stand in the target from then on, and go back with an undo; beside the posts themselves.
_TRAVELLING: dict[str, Any] = {"notes": StaffNote, "drafts": Draft}
# Rows about posts that travel say in which thread the post stands.
_ABOUT_POSTS: tuple[Any, ...] = (Mention, Notification, Flag, Draft)


def why_no_merge(source: Thread, target: Thread) -> str:
    """Say in a sentence why two threads can't be merged; empty when they can."""
    if source.pk == target.pk:
        return "A thread can't be merged into itself. Give the number of the other one."
    if source.course_id != target.course_id:
        return "Both threads must be in this course."
    for thread in (source, target):
        if thread.deleted_at:
            return f"#{thread.number} is deleted."
        if thread.merged_into_id:
            return f"#{thread.number} was merged into another thread already."
        if thread.visibility != Visibility.COURSE:
            return f"#{thread.number} is private: its replies would be read by others than it was written for."
        if thread.moderation != Moderation.SHOWN:
            return f"#{thread.number} isn't shown to the course now. Approve or restore it first."
        if thread.kind == Kind.ANNOUNCEMENT:
            return "Announcements can't be merged."
    if source.kind != target.kind:
        return "A question and a discussion can't be merged. Change the kind of one of them first."
    return ""


@transaction.atomic
def merge_threads(*, by: Member, source: Thread, target: Thread) -> Merge:
    """Move everything under `source` to `target`; the address of `source` leads there, and its text is shown there.

    What is added to the target is noted by id in `Merge.carried`, so that `undo_merge` takes exactly that back.
    Raises `Refused` when the two can't be merged (any more).
    """
    access.require(access.may_moderate(by))
    source, target = _lock(source, target)
    access.require(source.course_id == by.course.pk)
    if reason := why_no_merge(source, target):
        raise access.Refused(reason)
    merge = Merge(institution_id=source.institution_id, source=source, target=target, by=by.user)
    posts = _keys(Post.objects.filter(thread=source))
    carried: dict[str, Any] = {
        "posts": posts,
        "pseudonyms": _carry_pseudonyms(source, target),
        "votes": _carry_votes(source, target),
        "same": _carry_same_questions(source, target),
        "follows": _carry_follows(source, target),
        # The source keeps it, and gets it back with the replies; in the target its answer isn't the accepted one.
        "accepted": str(source.accepted_post_id) if source.accepted_post_id else "",
        "sources": _keys(Thread.objects.filter(merged_into=source)),
        "active": target.last_activity_at.isoformat(),
        "duplicate": target.duplicate_of_id == source.pk,
    }
    for name, rows in _travelling(source, target).items():
        carried[name] = _keys(rows)
        rows.update(thread=target)
    _move_posts(posts, target)
    Thread.objects.filter(pk__in=carried["sources"]).update(merged_into=target)
    Thread.objects.filter(pk=source.pk).update(merged_into=target)
    if carried["duplicate"]:
        Thread.objects.filter(pk=target.pk).update(duplicate_of=None)
    merge.carried = carried
    merge.save(force_insert=True)
    threads_merged.send(sender=Merge, merge=merge)
    merge.save(update_fields=["carried"])
    refresh_status(target)
    audit("thread.merged", source, by=by.user, course=by.course, into=target.number)
    return merge


@transaction.atomic
def undo_merge(*, by: Member, merge: Merge) -> Merge:
    """Take two threads apart: what was moved or added goes back, what people wrote and did since then stays."""
    access.require(access.may_moderate(by))
    source, target = _lock(merge.source, merge.target)
    merge = Merge.objects.select_for_update().get(pk=merge.pk)
    access.require(target.course_id == by.course.pk)
    if merge.undone_at is not None:
        raise access.Refused("This merge was undone already.")
    if source.merged_into_id != target.pk:
        raise access.Refused(f"#{target.number} was merged into another thread since then. Undo that first.")
    carried = merge.carried
    posts = _keys(Post.objects.filter(pk__in=carried["posts"], thread=target))
    # A comment written since then can't stay where the reply above it isn't any more.
    posts += _keys(Post.objects.filter(Q(parent__in=posts), thread=target).exclude(pk__in=posts))
    _move_posts(posts, source)
    _return_pseudonyms(carried["pseudonyms"], source, target, posts)
    Vote.objects.filter(pk__in=carried["votes"]).delete()
    SameQuestion.objects.filter(pk__in=carried["same"]).delete()
    Follow.objects.filter(pk__in=carried["follows"]).delete()
    for name, model in _TRAVELLING.items():
        model.objects.filter(pk__in=carried[name], thread=target).update(thread=source)
    Thread.objects.filter(pk__in=carried["sources"], merged_into=target).update(merged_into=source)
    Thread.objects.filter(pk=source.pk).update(merged_into=None)
    if carried["duplicate"]:
        Thread.objects.filter(pk=target.pk, duplicate_of=None).update(duplicate_of=source)
    _settle_source(source)
    latest = Post.objects.filter(thread=target, deleted_at=None, moderation=Moderation.SHOWN).aggregate(
        at=Max("created_at")
    )["at"]
    before = target._meta.get_field("last_activity_at").to_python(carried["active"])
    Thread.objects.filter(pk=target.pk).update(last_activity_at=max(filter(None, (before, latest))))
    if target.accepted_post_id and str(target.accepted_post_id) in {str(key) for key in posts}:
        # Accepted in the target while it stood there.
        target.accepted_post, target.status = None, unsettled_status(target)
        target.save(update_fields=["accepted_post", "status"])
    merge.undone_by, merge.undone_at = by.user, timezone.now()
    merge.save(update_fields=["undone_by", "undone_at"])
    merge_undone.send(sender=Merge, merge=merge)
    refresh_status(source)
    refresh_status(target)
    audit("thread.merge-undone", source, by=by.user, course=by.course, into=target.number)
    return merge


def _lock(source: Thread, target: Thread) -> tuple[Thread, Thread]:
    """Lock both threads, and those merged into the source, by key: two merges the other way round wait in line."""
    rows = (
        Thread.objects.select_for_update(no_key=True, of=("self",))
        .select_related("course", "author")
        .filter(Q(pk__in=(source.pk, target.pk)) | Q(merged_into=source.pk))
        .order_by("pk")
    )
    locked = {row.pk: row for row in rows}
    return locked[source.pk], locked[target.pk]


def _keys(rows: models.QuerySet[Any]) -> list[str]:
    return [str(key) for key in rows.order_by("pk").values_list("pk", flat=True)]


def _move_posts(posts: list[str], to: Thread) -> None:
    """Let posts stand in another thread. Triggers move their counts and search entries."""
    Post.objects.filter(pk__in=posts).update(thread=to)
    for model in _ABOUT_POSTS:
        model.objects.filter(post__in=posts).update(thread=to)


def _travelling(source: Thread, target: Thread) -> dict[str, models.QuerySet[Any]]:
    """Return the rows of `_TRAVELLING`; a draft stays when its writer has one in the target."""
    mine = Draft.objects.filter(thread=target, post=None).values("user")
    drafts = Draft.objects.filter(thread=source, post=None).exclude(user__in=mine)
    return {"notes": StaffNote.objects.filter(thread=source), "drafts": drafts}


def _carry_pseudonyms(source: Thread, target: Thread) -> list[dict[str, str]]:
    """Move pseudonyms of people who have none in the target; return their ids and names as they were.

    A name that is taken in the target is drawn again, whoever has it there: two people under one name, or one person
    under the same name by chance, would be told apart otherwise.
    """
    here = {p.name: p for p in Pseudonym.objects.filter(thread=target)}
    people = {p.user_id for p in here.values() if p.user_id is not None}
    theirs = list(Pseudonym.objects.filter(thread=source).order_by("pk"))
    taken = {*here, *(p.name for p in theirs)}
    moved = []
    for pseudonym in theirs:
        was = {"id": str(pseudonym.pk), "name": pseudonym.name}
        if pseudonym.name in here:
            pseudonym.name = draw_name(taken, pseudonym.pk)
            taken.add(pseudonym.name)
        if pseudonym.user_id is None or pseudonym.user_id not in people:
            pseudonym.thread = target
        pseudonym.save(update_fields=["name", "thread"])
        moved.append(was)
    return moved


def _return_pseudonyms(moved: list[dict[str, str]], source: Thread, target: Thread, posts: list[str]) -> None:
    """Take pseudonyms back to the source; one that was used in the target since then stays there, with a twin here."""
    for was in moved:
        pseudonym = Pseudonym.objects.filter(pk=was["id"]).first()
        if pseudonym is None:
            continue
        if pseudonym.thread_id == target.pk and Post.objects.filter(pseudonym=pseudonym, thread=target).exists():
            twin = Pseudonym.objects.create(
                id=uuid7(), institution_id=source.institution_id, thread=source, user=pseudonym.user, name=was["name"]
            )
            Post.objects.filter(pk__in=posts, pseudonym=pseudonym).update(pseudonym=twin)
            Thread.objects.filter(pk=source.pk, pseudonym=pseudonym).update(pseudonym=twin)
        else:
            pseudonym.thread, pseudonym.name = source, was["name"]
            pseudonym.save(update_fields=["thread", "name"])


def _carry_votes(source: Thread, target: Thread) -> list[str]:
    """Vote for the target as the source's voters did: nobody twice, and not its author."""
    voted = Vote.objects.filter(thread=target).values("user")
    users = Vote.objects.filter(thread=source).exclude(user__in=voted)
    return _add(Vote, target, _without(target, users.values_list("user", flat=True)))


def _carry_same_questions(source: Thread, target: Thread) -> list[str]:
    """Let those who have the source's question, and its asker, have the target's.

    Its asker only where both are named: the count staying the same would say that two who hide are one person.
    """
    if target.kind != Kind.QUESTION:
        return []
    known = set(SameQuestion.objects.filter(thread=target).values_list("user", flat=True))
    users = set(SameQuestion.objects.filter(thread=source).values_list("user", flat=True))
    if source.author_id is not None and source.anonymity == target.anonymity == Anonymity.NAMED:
        users.add(source.author_id)
    return _add(SameQuestion, target, _without(target, users - known))


def _carry_follows(source: Thread, target: Thread) -> list[str]:
    """Let those who follow or mute the source do so with the target, where they have said nothing about it."""
    known = Follow.objects.filter(thread=target).values("user")
    made = [
        Follow(institution_id=target.institution_id, thread=target, user_id=follow.user_id, state=follow.state)
        for follow in Follow.objects.filter(thread=source).exclude(user__in=known).order_by("pk")
    ]
    return [str(row.pk) for row in Follow.objects.bulk_create(made)]


def _without(target: Thread, users: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    return sorted(user for user in users if user != target.author_id)


def _add(model: Any, target: Thread, users: Iterable[uuid.UUID]) -> list[str]:
    rows = [model(institution_id=target.institution_id, thread=target, user_id=user) for user in users]
    return [str(row.pk) for row in model.objects.bulk_create(rows)]


def _settle_source(source: Thread) -> None:
    """Let the source be settled as it was, if what settled it is still there."""
    source.merged_into = None
    accepted = source.accepted_post
    if accepted is not None and (accepted.deleted_at or not accepted.is_shown):
        source.accepted_post, source.status = None, unsettled_status(source)
    elif accepted is not None:
        source.status = Status.RESOLVED
    source.save(update_fields=["accepted_post", "status"])
