"""Replies and comments."""

import uuid
from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member
from accounts.decorators import View, login_required
from accounts.models import Purpose
from accounts.uploading import take_files
from forum import access, actions
from forum.forms import PostEditForm, ReplyForm
from forum.models import Post, Thread
from forum.views.threads import edited_files, history_page, is_on, thread_page


@login_required
@require_POST
def reply(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID | None = None) -> HttpResponse:
    """Reply to a thread, or comment under the reply `post_id`; a refused text stays on the page."""
    member = get_member(request.user, slug)
    thread = access.get_thread_of_posts(member, number)
    form = ReplyForm(request.POST, member=member, auto_id=f"comment-{post_id}_%s" if post_id else "reply_%s")
    files = take_files(request, request.user, Purpose.ATTACHMENT, member)
    try:
        parent = access.get_post(member, thread, post_id) if post_id else None
    except Http404:
        form.add_error("body", "The reply you comment on isn't here any more. Your text is still below.")
        return thread_page(request, member, thread, refused=form, refused_parent=Post(pk=post_id), status=409)
    if not form.is_valid() or files.problems:
        return thread_page(request, member, thread, refused=form, refused_parent=parent, files=files, status=422)
    try:
        post = actions.add_reply(
            by=member,
            thread=thread,
            parent=parent,
            body=form.cleaned_data["body"],
            anonymity=form.chosen_anonymity(),
            form_key=form.key(),
            templates=form.used_templates(),
            uploads=files.keys,
        )
    except access.Refused as refusal:
        form.add_error("body", str(refusal))
        return thread_page(
            request,
            member,
            access.get_thread_of_posts(member, number),
            refused=form,
            refused_parent=parent,
            files=files,
            status=409,
        )
    return _to(post, slug, thread.number)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_post(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID) -> HttpResponse:
    """Change a reply's text."""
    member = get_member(request.user, slug)
    thread = access.get_thread_of_posts(member, number)
    post = access.get_post(member, thread, post_id)
    access.require(access.may_delete(member, post))
    form = PostEditForm(request.POST or None, initial={"body": post.body})
    files = edited_files(request, member, post)
    closed = access.why_no_edit(member, post)
    status = 422
    if request.method == "POST" and form.is_valid() and not files.problems:
        try:
            actions.edit_post(by=member, post=post, body=form.cleaned_data["body"], uploads=files.keys)
            return _to(post, slug, thread.number)
        except access.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    context = {
        "member": member, "thread": thread, "post": post, "form": form, "closed": closed, "section": "threads",
        "files": files,
    }  # fmt: skip
    return render(request, "forum/edit.html", context, status=status if form.errors or files.problems else 200)


@login_required
@require_safe
def post_history(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID) -> HttpResponse:
    """Show what a reply said before each edit."""
    member = get_member(request.user, slug)
    thread = access.get_thread_of_posts(member, number)
    return history_page(request, member, thread, access.get_post(member, thread, post_id))


PostAct = Callable[[SignedInRequest, Member, Thread, Post], None]


def post_act(act: PostAct) -> View:
    """Make a view of something done to a post with one click."""

    @login_required
    @require_POST
    @wraps(act)
    def view(request: SignedInRequest, slug: str, number: int, post_id: uuid.UUID) -> HttpResponse:
        member = get_member(request.user, slug)
        thread = access.get_thread_of_posts(member, number)
        post = access.get_post(member, thread, post_id)
        try:
            act(request, member, thread, post)
        except access.Refused as refusal:
            messages.error(request, str(refusal))
        return _to(post, slug, thread.number)

    return view


@post_act
def vote_post(request: SignedInRequest, member: Member, thread: Thread, post: Post) -> None:
    """Upvote, or take it back."""
    actions.set_vote(by=member, target=post, on=is_on(request))


@post_act
def endorse_post(request: SignedInRequest, member: Member, thread: Thread, post: Post) -> None:
    """Endorse as staff, or take it back."""
    actions.set_endorsement(by=member, post=post, on=is_on(request))


@post_act
def accept_post(request: SignedInRequest, member: Member, thread: Thread, post: Post) -> None:
    """Accept as the answer, or take it back."""
    actions.accept_answer(by=member, post=post, accepted=is_on(request))


@post_act
def delete_post(request: SignedInRequest, member: Member, thread: Thread, post: Post) -> None:
    """Delete; the thread page offers to undo it."""
    actions.delete_post(by=member, post=post)


@post_act
def restore_post(request: SignedInRequest, member: Member, thread: Thread, post: Post) -> None:
    """Undo a deletion."""
    actions.restore_post(by=member, post=post)


def _to(post: Post, slug: str, number: int) -> HttpResponse:
    return redirect(f"{reverse('forum:thread', args=[slug, number])}#post-{post.pk}")
