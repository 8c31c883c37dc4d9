"""Asking, reading and running a thread."""

import uuid
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.access import Member, SignedInRequest, get_member, stand_in, values_of
from accounts.decorators import View, login_required
from accounts.models import Purpose, User
from accounts.uploading import Files, kept_uploads, no_files, take_files
from forum import access, actions
from forum.attachments import attached_to
from forum.differences import difference
from forum.forms import ReplyForm, StaffNoteForm, ThreadEditForm, ThreadForm, body_field, template_ids
from forum.models import (
    MAX_BODY,
    Anonymity,
    Attachment,
    Draft,
    FollowState,
    Kind,
    Post,
    ResponseTemplate,
    Revision,
    StaffNote,
    Thread,
)
from forum.panels import PanelsOf, ask_panels, prefilled
from forum.querysets import PostQuerySet
from forum.responses import fill, left_over, values_for
from forum.search import Likeness, Similar, similar_threads
from forum.views.cards import AUTHOR_COLUMNS, POST_COLUMNS, Shown
from quokkaq.lib.database.prepared import Asked, Prepared, together
from quokkaq.lib.markdown import RENDERER_VERSION, References
from quokkaq.lib.markdown import render as render_markdown


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: SignedInRequest, slug: str) -> HttpResponse:
    """Write a thread; `preview` shows it first (for browsers without JavaScript).

    A question that was asked before is shown again with a warning; `confirmed` posts it all the same.
    """
    member = get_member(request.user, slug)
    session_key = f"ask:{member.course.pk}"
    if request.method != "POST":
        if member.posting_closed:
            return render(request, "forum/ask_closed.html", {"member": member, "section": "ask"}, status=403)
        # One key until something is posted, so that two tabs with the same text are one question.
        form_key = request.session.setdefault(session_key, str(uuid.uuid4()))
        # What it was opened with comes before a draft, which is shown below: typing something else replaces it.
        prefill = prefilled(member, request.GET.get("from", ""))
        draft = Draft.objects.visible_to(member).filter(thread=None, post=None).first()
        fields = draft.fields if draft else {}
        form = ThreadForm(member=member, initial={**(prefill or fields), "form_key": form_key})
        files = no_files(member, kept_uploads(request.user, fields.get("uploads")))
        if not prefill:
            return ask_page(request, member, form, draft=draft, files=files)
        kept = [str(fields[name]) for name in ("title", "body") if fields.get(name)]
        return ask_page(request, member, form, kept=["\n\n".join(kept)] if kept else [], files=files)
    form = ThreadForm(request.POST, member=member)
    files = take_files(request, request.user, Purpose.ATTACHMENT, member)
    if not form.is_valid() or files.problems:
        return ask_page(request, member, form, status=422, files=files)
    if "preview" in request.POST:
        return ask_page(request, member, form, preview=_preview(member, form.cleaned_data["body"]), files=files)
    duplicates = [] if "confirmed" in request.POST else _duplicates(member, form)
    if duplicates:
        # The first is the most alike: it says how sure the warning is.
        return ask_page(request, member, form, similar=duplicates, warning=duplicates[0].likeness.value, files=files)
    try:
        thread = actions.start_thread(by=member, draft=form.draft(files.keys), form_key=form.key())
    except access.Refused as refusal:
        form.add_error(None, f"{refusal} What you wrote is still below.")
        return ask_page(request, member, form, status=409, files=files)
    request.session.pop(session_key, None)
    return redirect("forum:thread", slug=slug, number=thread.number)


def _duplicates(member: Member, form: ThreadForm) -> list[Similar]:
    """Return the threads that ask the same as a question, unless it is posted already."""
    draft = form.draft()
    if draft.kind != Kind.QUESTION or actions.find_sent(by=member, draft=draft, form_key=form.key()):
        return []
    found = similar_threads(member, title=draft.title, body=draft.body)
    same = [item for item in found if item.likeness != Likeness.RELATED]
    return sorted(same, key=lambda item: (-item.likeness.step, -item.sureness))


def ask_page(
    request: SignedInRequest,
    member: Member,
    form: ThreadForm,
    *,
    panels: Sequence[str] | None = None,
    status: int = 200,
    **shown: object,
) -> HttpResponse:
    """Render the page on which a thread is written.

    `panels` stand in the places of the registered ones; `shown` is what else it shows (`draft`, `preview`, `similar`,
    `warning`, `kept`, `files`).
    """
    context: dict[str, object] = {"draft": None, "preview": "", "similar": [], "warning": "", "kept": []} | shown
    context |= {"member": member, "form": form, "section": "ask"}
    context.setdefault("files", no_files(member))
    context["panels"] = ask_panels(request, member) if panels is None else panels
    return render(request, "forum/ask.html", context, status=status)


def _preview(member: Member, body: str) -> str:
    names = access.names_in(member) if "@" in body else ()
    return render_markdown(body, References(reverse("forum:list", args=[member.course.slug]), names))


@login_required
@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """Return the HTML of a text being written."""
    member = get_member(request.user, slug)
    body = body_field("", rows=1).to_python(request.POST.get("body", ""))
    problem = f"This is too long: {len(body)} characters. The limit is {MAX_BODY}." if len(body) > MAX_BODY else ""
    html = "" if problem else _preview(member, body)
    return render(request, "forum/_preview.html", {"preview": html, "problem": problem})


@login_required
@require_safe
def thread(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show a thread with its replies, and note that it was read."""
    member = get_member(request.user, slug)
    try:
        found = access.get_thread(member, number)
    except Http404:
        return redirect(access.get_moved_thread(member, number))
    if found.deleted_at:
        return render(request, "forum/thread_deleted.html", {"member": member, "thread": found})
    if found.merged_into_id:
        return to_merge_target(request, member, found)
    if found.my_told:  # before the page is made: its header counts what is unread
        actions.mark_told_read(by=request.user, thread=found)
    inserted = _asked_template(request, member)
    response = thread_page(request, member, found, inserted=inserted)
    if found.is_unread:
        actions.mark_read(by=member, thread=found, up_to=found.last_activity_at)
    return response


def to_merge_target(request: SignedInRequest, member: Member, thread: Thread) -> HttpResponse:
    """Lead on to the thread that `thread` was merged into; browsers keep the `#post-…` of an old link."""
    target = access.get_merge_target(member, thread)
    messages.info(request, f"#{thread.number} was merged into this thread. Its replies are here.")
    return redirect(target)


def _asked_template(request: SignedInRequest, member: Member) -> ResponseTemplate | None:
    """Return the response template the address names (`?template=`), if staff ask and it is there."""
    asked = template_ids(request.GET.get("template", ""))
    return ResponseTemplate.objects.visible_to(member).filter(pk=asked[0]).first() if asked else None


def thread_page(
    request: SignedInRequest,
    member: Member,
    thread: Thread,
    *,
    refused: ReplyForm | None = None,
    refused_parent: Post | None = None,
    refused_note: StaffNoteForm | None = None,
    typed: ReplyForm | None = None,
    inserted: ResponseTemplate | None = None,
    files: Files | None = None,
    status: int = 200,
) -> HttpResponse:
    """Render the thread page, with a refused form where it was sent from.

    `inserted` goes at the end of the reply box, after what was `typed` there, or else after the draft.
    """
    of = values_of(member)
    asked: list[Asked[Any]] = [
        _POSTS(member.is_staff, **of, thread=thread.pk),
        _FILES(thread=thread.pk, institution=member.course.institution_id),
        _DRAFTS(**of, thread=thread.pk),
        access.waiting(member.user),
    ]
    panels = PanelsOf(member, thread)
    posts, files_around, kept_drafts, waiting, *of_panels = together(*asked, *panels.asked)
    _render_again(posts)
    answers = _answers(member, thread, posts)
    anonymity = thread.anonymity if thread.is_by(member) else Anonymity.NAMED
    drafts = {draft.post_id: draft for draft in kept_drafts} if member.may_write else {}
    kept = drafts.get(None)
    if kept and kept.fields.get("anonymity") in Anonymity.values:
        anonymity = kept.fields["anonymity"]
    form_key, token = str(uuid.uuid4()), get_token(request)
    shown = Shown(
        member, thread, attached_to(member, thread, posts, files_around), drafts,
        access.open_flags(member, thread) if member.is_staff else {}, str(anonymity),
        {"csrf": token, "form_key": form_key},
    )  # fmt: skip
    closed = access.why_no_reply(member, thread)
    staff = list(access.staff_of(member.course)) if member.is_staff else []
    templates = list(ResponseTemplate.objects.visible_to(member).defer("body")) if member.is_staff else []
    homeless = refused_parent is not None and refused_parent.pk not in {
        p.pk for p in posts if p.is_shown and not p.deleted_at
    }
    refusal = {"refused_comment": refused, "refused_parent": refused_parent, "comment_files": files}
    context = {
        "member": member,
        "thread": thread,
        "question": shown.question(
            duplicate=access.get_duplicate(member, thread),
            assignee=_assignee(thread, staff),
            staff=staff,
            after_assigning="",
        ),
        "answers": shown.filled(
            shown.refused_answer(post, under, refusal)
            if refused_parent and refused_parent.pk == post.pk
            else shown.answer(post, under)
            for post, under in answers
        ),
        # A comment whose reply was deleted meanwhile has no form to stand in any more; where one may not reply, none has.
        "kept": [refused.data["body"]] if refused and refused.data.get("body") and (closed or homeless) else [],
        "kept_why": refused.errors.get("body", [""])[0] if refused else "",
        "closed": closed,
        "answer_count": sum(post.deleted_at is None and post.is_shown for post, _ in answers),
        "comment_count": sum(
            post.parent_id is not None and post.deleted_at is None and post.is_shown for post in posts
        ),
        "panels": panels.html(request, of_panels),
        "notes": list(StaffNote.objects.visible_to(member).filter(thread=thread)) if member.is_staff else [],
        "merges": access.merged_into(member, thread),
        "note_form": refused_note or StaffNoteForm(initial={"form_key": uuid.uuid4()}, auto_id="note_%s")
        if member.is_staff
        else None,
        "section": "threads",
        "waiting": len(waiting),
        "csrf_token": token,
    }
    if refused or typed or inserted or kept or files or templates:
        blank, left = _begun_reply(member, thread, anonymity, form_key, typed=typed, kept=kept, inserted=inserted)
        if files is None:
            files = no_files(member, kept_uploads(member.user, kept.fields.get("uploads")) if kept else None)
        context["reply_box"] = shown.filled_reply_box(
            {
                "reply_form": refused if refused and refused_parent is None else blank,
                "files": no_files(member) if refused_parent else files,
                "draft": kept,
                "response_templates": templates,
                "inserted": inserted,
                "left_over": left,
            }
        )
    else:
        context["reply_box"] = shown.reply_box()
    return render(request, "forum/thread.html", context, status=status)


def _answers(member: Member, thread: Thread, posts: list[Post]) -> list[tuple[Post, list[Post]]]:
    """Return the replies that have a card, in order, each with the comments under it; adds to `posts` those that only hold some."""
    children: dict[uuid.UUID, list[Post]] = {}
    for post in posts:
        post.thread = thread
        if post.parent_id is not None:
            children.setdefault(post.parent_id, []).append(post)
    posts += stubs(thread, posts, children)
    answers = []
    for post in posts:
        if post.parent_id is None:
            under = [c for c in children.get(post.pk, []) if c.deleted_at is None or access.may_restore(member, c)]
            if post.deleted_at is None or under or access.may_restore(member, post):
                answers.append((post, under))
    # In the order of time, a stub where its first comment stands; but the accepted answer first: people refer to “the reply above”.
    answers.sort(key=lambda pair: (pair[0].pk != thread.accepted_post_id, pair[0].created_at, pair[0].pk))
    return answers


def _begun_reply(
    member: Member,
    thread: Thread,
    anonymity: str,
    form_key: str,
    *,
    typed: ReplyForm | None,
    kept: Draft | None,
    inserted: ResponseTemplate | None,
) -> tuple[ReplyForm, list[str]]:
    """Return the form with what was typed, or else kept, and a template at its end; and what of that is left to fill in."""
    text = str(typed["body"].value() or "") if typed else str(kept.fields.get("body", "")) if kept else ""
    used = str(typed["templates"].value() or "") if typed else ""
    left: list[str] = []
    if inserted:
        values = values_for(member, thread)
        text = "\n\n".join(part for part in (text.rstrip(), fill(inserted.body, values)) if part)
        used = f"{used} {inserted.pk}".strip()
        left = list(left_over(inserted.body, values))
    form = ReplyForm(
        member=member,
        anonymity=anonymity,
        initial={"form_key": (typed and typed["form_key"].value()) or form_key, "body": text, "templates": used},
        auto_id="reply_%s",
    )
    return form, left


def _posts(staff: bool, *, thread: uuid.UUID, **of: uuid.UUID) -> PostQuerySet:
    rows = Post.objects.shown_to(stand_in(staff=staff, **of)).filter(thread_id=thread)
    joined = [f"author__{name}" for name in AUTHOR_COLUMNS]
    return rows.only(*POST_COLUMNS, *joined, "pseudonym__name")


_POSTS = Prepared[Post](_posts)
_FILES = Prepared[Attachment](Attachment.objects.around)
_DRAFTS = Prepared[Draft](
    lambda thread, **of: Draft.objects.visible_to(stand_in(staff=False, **of)).filter(thread_id=thread)
)


def _render_again(posts: list[Post]) -> None:
    """Bring the HTML up to date that an older renderer made. One query, and none when there is no such text."""
    old = {post.pk: post for post in posts if post.html_version != RENDERER_VERSION}
    if old:
        # rule: unfiltered-manager (texts of posts that were read through `shown_to`)
        for key, body in Post.objects.filter(pk__in=old).values_list("pk", "body"):
            old[key].body = body


def stubs(thread: Thread, posts: list[Post], children: dict[uuid.UUID, list[Post]]) -> list[Post]:
    """Return what stands for replies the reader may not see and that have comments they may: as after a deletion."""
    known = {post.pk for post in posts}
    return [
        Post(pk=key, thread=thread, created_at=comments[0].created_at, deleted_at=comments[0].created_at)
        for key, comments in children.items()
        if key not in known
    ]


def _assignee(thread: Thread, staff: list[User]) -> User | None:
    """Return who sees to the thread, for staff; without a query while they are still staff."""
    if not staff or thread.assignee_id is None:
        return None
    return next((user for user in staff if user.pk == thread.assignee_id), None) or thread.assignee


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit_thread(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Change a thread's title, text and tags."""
    member = get_member(request.user, slug)
    found = access.get_live_thread(member, number)
    access.require(access.may_delete(member, found))
    initial = {
        "title": found.title,
        "body": found.body,
        "tags": [tag.slug for tag in found.tags.all()],
        "assignment": found.assignment.slug if found.assignment else "",
    }
    form = ThreadEditForm(request.POST or None, member=member, initial=initial)
    files = edited_files(request, member, found)
    closed = access.why_no_edit(member, found)
    status = 422
    if request.method == "POST" and form.is_valid() and not files.problems:
        data = form.cleaned_data
        try:
            actions.edit_thread(by=member, thread=found, uploads=files.keys, **(data | {"tags": list(data["tags"])}))
            return redirect(found)
        except access.Refused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    context = {"member": member, "thread": found, "form": form, "closed": closed, "section": "threads", "files": files}
    return render(request, "forum/edit.html", context, status=status if form.errors or files.problems else 200)


def edited_files(request: SignedInRequest, member: Member, writing: Thread | Post) -> Files:
    """Return the files of a form that changes a text: those it has, or those that were left and added."""
    key = {"thread": writing} if isinstance(writing, Thread) else {"post": writing}
    items = list(Attachment.objects.visible_to(member).filter(**key).select_related("upload"))
    if not writing.is_by(member):
        for item in items:  # an author who hides may have written their name into it
            item.upload.original_name = item.name_for(writing)
    has = [item.upload for item in items]
    if "with_files" not in request.POST:
        return no_files(member, has)
    return take_files(request, request.user, Purpose.ATTACHMENT, member, has=has)


@login_required
@require_safe
def thread_history(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Show what a thread said before each edit."""
    member = get_member(request.user, slug)
    found = access.get_live_thread(member, number)
    return history_page(request, member, found, found)


def history_page(request: SignedInRequest, member: Member, thread: Thread, writing: Thread | Post) -> HttpResponse:
    """Render the versions of a thread or post, newest first, each with what changed."""
    key = {"thread": writing} if isinstance(writing, Thread) else {"post": writing}
    earlier = list(Revision.objects.visible_to(member).filter(**key).select_related("editor"))
    texts = [_full_text(r.title, r.body) for r in earlier] + [_full_text(getattr(writing, "title", ""), writing.body)]
    versions = [
        (revision, difference(before, after))
        for revision, before, after in zip(earlier, texts[:-1], texts[1:], strict=True)
    ]
    context = {"member": member, "thread": thread, "writing": writing, "versions": versions[::-1], "section": "threads"}
    return render(request, "forum/history.html", context)


def _full_text(title: str, body: str) -> str:
    return f"{title}\n\n{body}" if title else body


ThreadAct = Callable[[SignedInRequest, Member, Thread], str | None]


def thread_act(act: ThreadAct) -> View:
    """Make a view of something done to a thread with one click; what it returns is said on the next page."""

    @login_required
    @require_POST
    @wraps(act)
    def view(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
        member = get_member(request.user, slug)
        found = access.get_thread(member, number)
        if found.merged_into_id:
            return to_merge_target(request, member, found)
        try:
            said = act(request, member, found)
            if said:
                messages.success(request, said)
        except access.Refused as refusal:
            messages.error(request, str(refusal))
        return redirect(found)

    return view


def is_on(request: SignedInRequest) -> bool:
    """Tell whether a button switches on (`on=1`, the default) or off (`on=0`)."""
    return request.POST.get("on", "1") != "0"


@thread_act
def vote_thread(request: SignedInRequest, member: Member, thread: Thread) -> None:
    """Upvote, or take it back."""
    actions.set_vote(by=member, target=thread, on=is_on(request))


@thread_act
def same_question(request: SignedInRequest, member: Member, thread: Thread) -> None:
    """Say "I have this question too", or take it back."""
    actions.set_same_question(by=member, thread=thread, on=is_on(request))


@thread_act
def follow_thread(request: SignedInRequest, member: Member, thread: Thread) -> str:
    """Follow, mute, or neither."""
    state = FollowState(wish) if (wish := request.POST.get("state", "")) in FollowState.values else None
    actions.set_follow(by=member, thread=thread, state=state)
    match state:
        case FollowState.FOLLOWING:
            return "You follow this thread: you hear of new replies."
        case FollowState.MUTED:
            return "Muted: you hear of this thread only when somebody calls you by name."
    return "You don’t follow this thread any more."


@thread_act
def resolve_thread(request: SignedInRequest, member: Member, thread: Thread) -> str:
    """Mark as settled, or open again."""
    actions.set_resolved(by=member, thread=thread, resolved=is_on(request))
    return "Marked as resolved." if is_on(request) else "Open again."


@thread_act
def pin_thread(request: SignedInRequest, member: Member, thread: Thread) -> str:
    """Keep at the top of the list, or let go."""
    actions.set_pinned(by=member, thread=thread, pinned=is_on(request))
    return "Pinned to the top of the list." if is_on(request) else "No longer pinned."


@thread_act
def lock_thread(request: SignedInRequest, member: Member, thread: Thread) -> str:
    """Close for replies, or open again."""
    actions.set_locked(by=member, thread=thread, locked=is_on(request))
    return "Locked: only staff can reply now." if is_on(request) else "Unlocked."


@thread_act
def delete_thread(request: SignedInRequest, member: Member, thread: Thread) -> None:
    """Delete; the page it leads to offers to undo it."""
    actions.delete_thread(by=member, thread=thread)


@thread_act
def restore_thread(request: SignedInRequest, member: Member, thread: Thread) -> str:
    """Undo a deletion."""
    actions.restore_thread(by=member, thread=thread)
    return "The thread is back."
