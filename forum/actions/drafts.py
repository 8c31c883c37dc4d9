"""Keeping what isn't posted yet, and views of the list."""

from django.db import transaction
from django.utils import timezone

from accounts.access import Member
from forum import access
from forum.models import MAX_SAVED_VIEWS, Draft, Post, SavedView, Thread

# What a form may keep; a field that isn't named here is not.
DRAFT_FIELDS = ("title", "body", "kind", "visibility", "anonymity", "tags", "assignment", "uploads")
# Those that hold several values.
DRAFT_LISTS = ("tags", "uploads")
MAX_DRAFT = 50_000

Fields = dict[str, str | list[str]]


def save_draft(*, by: Member, thread: Thread | None, post: Post | None, fields: Fields) -> Draft | None:
    """Keep what stands in a form; an empty one is forgotten. One statement, so that two tabs can't collide."""
    if not any(str(fields.get(name, "")).strip() for name in ("title", "body")):
        discard_draft(by=by, thread=thread, post=post)
        return None
    if sum(len(str(value)) for value in fields.values()) > MAX_DRAFT:
        raise access.Refused("This is too long to be kept as a draft. Save it elsewhere.")
    draft = Draft(
        institution_id=by.course.institution_id, user=by.user, course=by.course, thread=thread, post=post,
        fields=fields, updated_at=timezone.now(),
    )  # fmt: skip
    Draft.objects.bulk_create(
        [draft],
        update_conflicts=True,
        unique_fields=["user", "course", "thread", "post"],
        update_fields=["fields", "updated_at"],
    )
    return draft


def discard_draft(*, by: Member, thread: Thread | None, post: Post | None) -> None:
    """Forget what stood in a form: it was posted, or isn't wanted."""
    Draft.objects.visible_to(by).filter(thread=thread, post=post).delete()


@transaction.atomic
def save_view(*, by: Member, name: str, query: str) -> SavedView:
    """Keep a view of the thread list under a name; the same name again replaces it."""
    mine = SavedView.objects.visible_to(by)
    if mine.exclude(name=name).count() >= MAX_SAVED_VIEWS:
        raise access.Refused(f"You have {MAX_SAVED_VIEWS} saved views in this course. Delete one first.")
    view, _ = SavedView.objects.update_or_create(
        user=by.user, course=by.course, name=name, defaults={"institution_id": by.course.institution_id, "query": query}
    )
    return view


def delete_view(*, by: Member, view: SavedView) -> None:
    """Forget a saved view."""
    access.require(view.user_id == by.user.pk)
    view.delete()
