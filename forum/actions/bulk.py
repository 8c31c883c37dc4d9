"""The same thing done to many threads: to all of them, or to none."""

from collections.abc import Callable, Collection

from django.core.exceptions import PermissionDenied
from django.db import transaction

from accounts.access import Member
from accounts.actions import audit
from accounts.models import CourseStatus, User
from forum import access
from forum.actions.assigning import assign_thread
from forum.actions.threads import delete_thread, restore_thread, set_locked, set_pinned, set_resolved
from forum.models import Anonymity, Assignment, Kind, Tag, Thread, ThreadTag

MAX_BULK = 100

Act = Callable[[Member, Thread], None]

# What can be done, by name, with what the threads are afterwards.
BULK_ACTS: dict[str, tuple[str, Act]] = {
    "resolve": ("marked as resolved", lambda by, thread: set_resolved(by=by, thread=thread, resolved=True)),
    "reopen": ("opened again", lambda by, thread: set_resolved(by=by, thread=thread, resolved=False)),
    "lock": ("locked", lambda by, thread: set_locked(by=by, thread=thread, locked=True)),
    "unlock": ("unlocked", lambda by, thread: set_locked(by=by, thread=thread, locked=False)),
    "pin": ("pinned", lambda by, thread: set_pinned(by=by, thread=thread, pinned=True)),
    "unpin": ("unpinned", lambda by, thread: set_pinned(by=by, thread=thread, pinned=False)),
    "delete": ("deleted", lambda by, thread: delete_thread(by=by, thread=thread)),
    "restore": ("restored", lambda by, thread: restore_thread(by=by, thread=thread)),
}


def assigning(to: User | None) -> tuple[str, Act]:
    """Return the bulk act that gives threads to a member of staff, or to nobody."""
    done = f"assigned to {to}" if to else "assigned to nobody"
    return done, lambda by, thread: assign_thread(by=by, thread=thread, to=to)


def tagging(tag: Tag, *, on: bool) -> tuple[str, Act]:
    """Return the bulk act that puts a tag on threads, or takes it off."""

    def act(by: Member, thread: Thread) -> None:
        _require_live(by, thread)
        if on:
            row = ThreadTag(institution_id=thread.institution_id, thread=thread, tag=tag)
            ThreadTag.objects.bulk_create([row], ignore_conflicts=True)
        else:
            ThreadTag.objects.filter(thread=thread, tag=tag).delete()
        audit("thread.tagged" if on else "thread.untagged", thread, by=by.user, course=by.course, tag=str(tag.pk))

    return f"tagged “{tag}”" if on else f"no longer tagged “{tag}”", act


def sorting(assignment: Assignment | None) -> tuple[str, Act]:
    """Return the bulk act that says which assignment threads are about."""

    def act(by: Member, thread: Thread) -> None:
        _require_live(by, thread)
        thread.assignment = assignment
        thread.save(update_fields=["assignment"])
        data = {"assignment": str(assignment.pk)} if assignment else {}
        audit("thread.sorted", thread, by=by.user, course=by.course, **data)

    return f"set to {assignment}" if assignment else "taken off their assignment", act


def _require_live(by: Member, thread: Thread) -> None:
    access.require(access.may_moderate(by) and not thread.deleted_at and thread.merged_into_id is None)


@transaction.atomic
def do_to_threads(*, by: Member, numbers: Collection[int], act: tuple[str, Act]) -> str:
    """Do `act` to the threads with these numbers or, when one can't be, to none; return what was done in a sentence.

    The rows are locked by key before anything happens to them, so two people's bulk actions wait for each other and
    never cross. Raises `Refused`, naming the thread and the reason.
    """
    access.require(access.may_moderate(by))
    done, do = act
    chosen = list(
        Thread.objects.in_reach_of(by)
        .filter(number__in=numbers, merged_into=None)
        .select_related("course", "author")
        .select_for_update(no_key=True, of=("self",))
        .order_by("pk")
    )
    missing = sorted(set(numbers) - {thread.number for thread in chosen})
    if missing:
        raise access.Refused(f"Nothing was changed. #{missing[0]} isn’t in this course any more.")
    if not chosen:
        raise access.Refused("Nothing was changed. Tick the threads you mean first.")
    if len(chosen) > MAX_BULK:
        raise access.Refused(f"Nothing was changed. Choose up to {MAX_BULK} threads at once.")
    for thread in chosen:
        reason = _would_unmask(by, thread, len(chosen))
        if not reason:
            try:
                do(by, thread)
            except access.Refused as refusal:
                raise access.Refused(f"Nothing was changed. {refusal}") from refusal
            except PermissionDenied:
                reason = _why_refused(thread, done)
        if reason:
            raise access.Refused(f"Nothing was changed. #{thread.number} can’t be {done}: {reason}")
    return f"{len(chosen)} thread{'' if len(chosen) == 1 else 's'} {done}."


def _would_unmask(by: Member, thread: Thread, count: int) -> str:
    """Say why doing this together with others would show who wrote the thread; empty when it wouldn't.

    The audit log leaves out who acted on their own hidden text; beside rows that name them, the gap is as good as a name.
    """
    if count > 1 and thread.is_by(by) and thread.anonymity != Anonymity.NAMED:
        return "it is your own, under a pseudonym. Do this on its page: among others, the audit log would show whose it is."
    return ""


def _why_refused(thread: Thread, done: str) -> str:
    """Say in plain words why an act raised `PermissionDenied`."""
    if thread.course.status == CourseStatus.ARCHIVED:  # archived between the page and the click
        return "the course is archived, so it can only be read."
    if thread.deleted_at:
        return "it is deleted. Restore it first."
    if done == "restored":
        return "it isn’t deleted."
    if thread.kind == Kind.ANNOUNCEMENT:
        return "there is nothing to settle in an announcement."
    return "it isn’t possible in the state it is in."
