"""Votes, "same question here" and endorsements. All are set to a state, not toggled, so a double click does nothing twice."""

from django.db import transaction

from accounts.access import Member
from accounts.actions import audit
from forum import access
from forum.actions.posts import lock_post_row
from forum.actions.threads import lock_thread_row, refresh_status
from forum.models import Endorsement, Post, SameQuestion, Thread, Vote
from forum.signals import post_endorsed, same_question_asked, thread_changed
from quokkaq.lib.metrics.counting import count
from quokkaq.lib.metrics.definitions import ENDORSEMENTS, VOTES


@transaction.atomic
def set_vote(*, by: Member, target: Thread | Post, on: bool) -> None:
    """Upvote a thread or post, or take the vote back."""
    access.require(access.may_vote(by, target))
    key = {"thread": target} if isinstance(target, Thread) else {"post": target}
    if on:
        vote = Vote(institution_id=target.institution_id, user=by.user, **key)
        made = not Vote.objects.filter(user=by.user, **key).exists()
        Vote.objects.bulk_create([vote], ignore_conflicts=True)
        if made:
            count(VOTES)
    else:
        Vote.objects.filter(user=by.user, **key).delete()


@transaction.atomic
def set_same_question(*, by: Member, thread: Thread, on: bool) -> None:
    """Say that one has the question of a thread too, or take it back."""
    thread = lock_thread_row(thread)
    access.require(access.may_ask_the_same(by, thread))
    if not on:
        SameQuestion.objects.filter(user=by.user, thread=thread).delete()
    elif not SameQuestion.objects.filter(user=by.user, thread=thread).exists():
        SameQuestion.objects.create(institution_id=thread.institution_id, user=by.user, thread=thread)
        same_question_asked.send(sender=SameQuestion, thread=thread, by=by)


@transaction.atomic
def set_endorsement(*, by: Member, post: Post, on: bool) -> None:
    """Put one's name as staff under a post, or take it away."""
    # Thread before post, as everywhere: the triggers below would lock them the other way round.
    thread = lock_thread_row(post.thread)
    access.require(not thread.deleted_at)
    post = lock_post_row(post)
    access.require(access.may_endorse(by) and not post.deleted_at and not post.is_by(by) and post.parent_id is None)
    if on and not post.is_shown:
        raise access.Refused("This reply isn't shown to others now, so it can't be endorsed.")
    if on:
        endorsement = Endorsement(institution_id=post.institution_id, post=post, endorser=by.user, role=by.role)
        made = Endorsement.objects.filter(post=post, endorser=by.user).exists()
        Endorsement.objects.bulk_create([endorsement], ignore_conflicts=True)
        if not made:
            audit("post.endorsed", post, by=by.user, course=by.course)
            count(ENDORSEMENTS)
            post_endorsed.send(sender=Post, post=post, by=by)
    else:
        gone, _ = Endorsement.objects.filter(post=post, endorser=by.user).delete()
        if gone:
            audit("post.unendorsed", post, by=by.user, course=by.course)
            thread_changed.send(sender=Thread, thread=thread)
    refresh_status(post.thread)
