"""What a course sorts its threads by: assignments and tags."""

import uuid
from datetime import datetime

from django.db import transaction
from django.utils.text import slugify

from accounts.access import Member, require_set_up
from accounts.actions import audit, lock_course
from forum import access
from forum.models import Assignment, Tag, ThreadTag


def _slug(text: str, taken: set[str], length: int) -> str:
    """Return a new address part for a name; one of a name in other letters than Latin is random."""
    base = slugify(text)[: length - 4].strip("-_") or uuid.uuid4().hex[:8]
    slug, n = base, 2
    while slug in taken:
        slug, n = f"{base}-{n}", n + 1
    return slug


@transaction.atomic
def save_assignment(
    *,
    by: Member,
    assignment: Assignment | None,
    title: str,
    due_at: datetime | None,
    embargo_until: datetime | None,
) -> Assignment:
    """Add an assignment, or change one. Its address stays. Raises `Refused` when another one has that title."""
    require_set_up(by, "assignments")
    course = lock_course(by)
    theirs = Assignment.objects.visible_to(by)
    others = theirs.exclude(pk=assignment.pk) if assignment else theirs
    if others.filter(title__iexact=title).exists():
        raise access.Refused(f"There is an assignment “{title}” already. Give this one another title.")
    if assignment is None:
        slug = _slug(title, set(theirs.values_list("slug", flat=True)), 60)
        assignment = Assignment(institution_id=course.institution_id, course=course, slug=slug)
        verb = "assignment.added"
    else:
        assignment = theirs.select_for_update(no_key=True).filter(pk=assignment.pk).first()
        if assignment is None:
            raise access.Refused("Somebody has deleted this assignment. Add it again if it is needed.")
        verb = "assignment.edited"
    assignment.title, assignment.due_at, assignment.embargo_until = title, due_at, embargo_until
    assignment.save()
    audit(verb, assignment, by=by.user, course=course)
    return assignment


@transaction.atomic
def delete_assignment(*, by: Member, assignment: Assignment) -> None:
    """Take an assignment away. Its threads stay, and belong to none."""
    require_set_up(by, "assignments")
    audit("assignment.deleted", assignment, by=by.user, course=by.course)
    assignment.delete()


@transaction.atomic
def add_tag(*, by: Member, name: str) -> Tag:
    """Add a tag. Raises `Refused` when there is one of that name."""
    require_set_up(by, "tags")
    course = lock_course(by)
    theirs = Tag.objects.visible_to(by)
    if theirs.filter(name__iexact=name).exists():
        raise access.Refused(f"There is a tag “{name}” already.")
    slug = _slug(name, set(theirs.values_list("slug", flat=True)), 40)
    tag = Tag.objects.create(institution_id=course.institution_id, course=course, slug=slug, name=name)
    audit("tag.added", tag, by=by.user, course=course)
    return tag


@transaction.atomic
def rename_tag(*, by: Member, tag: Tag, name: str) -> Tag:
    """Give a tag another name; one that another tag has makes the two one. Return the tag its threads have now.

    Its address stays, so that saved views and links go on working.
    """
    require_set_up(by, "tags")
    course = lock_course(by)
    other = Tag.objects.visible_to(by).filter(name__iexact=name).exclude(pk=tag.pk).first()
    if other is None:
        tag.name = name
        tag.save(update_fields=["name"])
        audit("tag.renamed", tag, by=by.user, course=course)
        return tag
    threads = ThreadTag.objects.filter(tag=tag).values_list("thread_id", flat=True)
    ThreadTag.objects.bulk_create(
        (ThreadTag(institution_id=course.institution_id, thread_id=thread, tag=other) for thread in threads),
        ignore_conflicts=True,
    )
    audit("tag.merged", other, by=by.user, course=course, merged=str(tag.pk))
    tag.delete()
    return other


@transaction.atomic
def delete_tag(*, by: Member, tag: Tag) -> None:
    """Take a tag off all threads."""
    require_set_up(by, "tags")
    audit("tag.deleted", tag, by=by.user, course=by.course)
    tag.delete()
