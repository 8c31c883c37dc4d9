"""Replying, editing, accepting and deleting replies."""

import uuid
from collections.abc import Collection

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from accounts.actions import audit
from forum import access
from forum.actions.attaching import set_attachments
from forum.actions.drafts import discard_draft
from forum.actions.mentions import note_mentions, people_called
from forum.actions.reading import mark_read
from forum.actions.templates import count_use
from forum.actions.threads import (
    content_key,
    editor_shown,
    lock_thread_row,
    moderation_of,
    pseudonym_for,
    refresh_status,
    unsettled_status,
)
from forum.models import Anonymity, Post, Revision, Status, Thread
from forum.signals import answer_accepted, post_added, text_pending, thread_changed
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import POSTS_CREATED


@transaction.atomic
def add_reply(
    *,
    by: Member,
    thread: Thread,
    body: str,
    form_key: uuid.UUID,
    parent: Post | None = None,
    anonymity: Anonymity = Anonymity.NAMED,
    templates: Collection[uuid.UUID] = (),
    uploads: Collection[uuid.UUID] = (),
) -> Post:
    """Reply to a thread, or comment under a reply. Sending the same form again returns the post of the first time.

    `templates` are the response templates the text was made from; each counts one use. `uploads` are the keys of files.

    Raises `Refused` when the thread was locked, or the reply deleted, in the meantime.
    """
    thread = lock_thread_row(thread)
    key = content_key(form_key, str(thread.pk), str(parent.pk if parent else ""), body)
    earlier = Post.objects.filter(author=by.user, submission_key=key).first()
    if earlier is not None:
        return earlier
    access.require(by.may_write)
    if reason := access.why_no_reply(by, thread):
        raise access.Refused(f"{reason} Your text is still below.")
    access.require(access.may_reply(by, thread))
    access.require(access.may_hide_as(by, anonymity))
    if parent is not None:
        parent = Post.objects.select_for_update(no_key=True, of=("self",)).get(pk=parent.pk, thread=thread)
        if parent.deleted_at:
            raise access.Refused("This reply was deleted while you were writing. Your text is still below.")
        if not parent.is_shown:
            raise access.Refused(
                "This reply isn't shown to others now, so it takes no comments. Your text is still below."
            )
        if parent.parent_id is not None:
            parent = parent.parent  # comments are one level deep
    post = Post(
        institution_id=thread.institution_id,
        thread=thread,
        parent=parent,
        author=by.user,
        anonymity=anonymity,
        is_by_staff=by.is_staff,
        moderation=moderation_of(by, thread.visibility),
        submission_key=key,
    )
    if anonymity != Anonymity.NAMED:
        post.pseudonym = pseudonym_for(by, thread, anonymity)
    people = people_called(thread, body)
    post.set_body(body, names=people)
    post.save(force_insert=True)
    set_attachments(by=by, writing=post, uploads=uploads)
    refresh_status(thread)
    mark_read(by=by, thread=thread, up_to=post.created_at)
    discard_draft(by=by, thread=thread, post=parent)
    if templates:
        count_use(by, templates)
    count(POSTS_CREATED)
    if post.is_shown:
        post_added.send(sender=Post, post=post)
        note_mentions(by=by, writing=post, people=people)
    else:
        text_pending.send(sender=Post, writing=post)
    return post


@transaction.atomic
def edit_post(*, by: Member, post: Post, body: str, uploads: Collection[uuid.UUID] | None = None) -> Post:
    """Change the text and, if given, the files (`uploads`, all of their keys); what it said before is kept as a revision."""
    post = lock_post_row(post)
    access.require(not post.thread.deleted_at)
    access.require_edit(by, post)
    if uploads is not None and set_attachments(by=by, writing=post, uploads=uploads):
        thread_changed.send(sender=Thread, thread=post.thread)
    if post.body == body:
        return post
    shown = editor_shown(by, post)
    Revision.objects.create(
        institution_id=post.institution_id, post=post, editor=shown.user if shown else None, body=post.body
    )
    people = people_called(post.thread, body)
    post.set_body(body, names=people)
    post.edited_at = timezone.now()
    post.save(update_fields=["body", "body_html", "html_version", "edited_at"])
    audit("post.edited", post, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=post.thread)
    if post.is_shown:
        note_mentions(by=by, writing=post, people=people)
    return post


@transaction.atomic
def delete_post(*, by: Member, post: Post) -> None:
    """Hide a reply. An accepted answer that is deleted settles nothing any more."""
    thread = lock_thread_row(post.thread)
    post = lock_post_row(post)
    access.require(access.may_delete(by, post) and not thread.deleted_at)
    post.deleted_at = timezone.now()
    post.deleted_by = by.user
    post.save(update_fields=["deleted_at", "deleted_by"])
    settle_without(post, thread)
    shown = editor_shown(by, post)
    audit("post.deleted", post, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=thread)


@transaction.atomic
def restore_post(*, by: Member, post: Post) -> None:
    """Undo a deletion."""
    lock_thread_row(post.thread)
    post = lock_post_row(post)
    access.require(access.may_restore(by, post) and not post.thread.deleted_at)
    post.deleted_at = post.deleted_by = None
    post.save(update_fields=["deleted_at", "deleted_by"])
    refresh_status(post.thread)
    shown = editor_shown(by, post)
    audit("post.restored", post, by=shown.user if shown else None, course=by.course)
    thread_changed.send(sender=Thread, thread=post.thread)


@transaction.atomic
def accept_answer(*, by: Member, post: Post, accepted: bool) -> None:
    """Say which reply settled the thread, or take it back."""
    thread = lock_thread_row(post.thread)
    post = lock_post_row(post)
    access.require(access.may_resolve(by, thread) and post.parent_id is None and not post.deleted_at)
    if accepted and not post.is_shown:
        raise access.Refused("This reply isn't shown to others now, so it can't be the accepted answer.")
    newly = accepted and thread.accepted_post_id != post.pk
    if accepted:
        thread.accepted_post = post
        thread.status = Status.RESOLVED
    elif thread.accepted_post_id == post.pk:
        thread.accepted_post = None
        thread.status = unsettled_status(thread)
    thread.save(update_fields=["accepted_post", "status"])
    shown = editor_shown(by, thread)
    verb = "post.accepted" if accepted else "post.unaccepted"
    audit(verb, post, by=shown.user if shown else None, course=by.course)
    if newly:
        answer_accepted.send(sender=Post, post=post, by=by)
    elif not accepted:
        thread_changed.send(sender=Thread, thread=thread)


def settle_without(post: Post, thread: Thread) -> None:
    """Bring the status of a locked thread in line after `post` went out of sight: it settles nothing any more."""
    if thread.accepted_post_id == post.pk:
        thread.refresh_from_db(fields=["endorsement_count"])  # a trigger has counted meanwhile
        thread.accepted_post = None
        thread.status = unsettled_status(thread)
        thread.save(update_fields=["accepted_post", "status"])
    else:
        refresh_status(thread)


def lock_post_row(post: Post) -> Post:
    """Return the post's row as it is now, locked; raise `Refused` when it went to another thread meanwhile.

    The thread is locked first wherever both are: the other way round two of these would wait for each other.
    """
    found = (
        Post.objects.select_for_update(no_key=True, of=("self",))
        .select_related("thread__course", "thread__author")
        .get(pk=post.pk)
    )
    if found.thread_id != post.thread_id:
        raise access.Refused("This reply was moved to another thread just now. Do it again there.")
    return found
