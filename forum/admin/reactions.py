"""What readers do: how many and when, mostly without who."""

from django.contrib import admin

from accounts.admin import (
    ReadOnlyAdmin,
    ScopedRelatedFilter,
)
from forum.admin.base import OfThreadOrPostAdmin
from forum.models import (
    Attachment,
    Endorsement,
    Mention,
    Pseudonym,
    SameQuestion,
    Thread,
    ThreadRead,
    Vote,
)


@admin.register(Vote)
class VoteAdmin(OfThreadOrPostAdmin[Vote]):
    """How many and when. Who voted is nobody's business."""

    fields = ("thread", "post", "created_at")
    list_display = ("__str__", "thread", "post", "created_at")
    # No days above it: there are too many votes to look which days have some.
    list_filter = (("created_at", admin.DateFieldListFilter),)


@admin.register(Attachment)
class AttachmentAdmin(OfThreadOrPostAdmin[Attachment]):
    """Which files stand with which texts."""

    fields = ("thread", "post", "position", "upload")
    list_display = ("__str__", "thread", "post", "position")
    list_filter = (("upload__created_at", admin.DateFieldListFilter),)


@admin.register(Endorsement)
class EndorsementAdmin(ReadOnlyAdmin[Endorsement]):
    course_paths = ("post__thread__course",)
    fields = ("post", "endorser", "role", "created_at")
    raw_id_fields = ("post", "endorser")
    list_display = ("post", "thread", "endorser", "role", "created_at")
    list_filter = ("role", ("post__thread__course", ScopedRelatedFilter))
    list_select_related = ("post__thread__course", "endorser")
    sought_through = ("post__thread", "endorser")
    # The newest first, as their keys are.
    ordering = ("-id",)
    date_hierarchy = "created_at"

    @admin.display(description="thread")
    def thread(self, row: Endorsement) -> Thread:
        return row.post.thread


@admin.register(SameQuestion)
class SameQuestionAdmin(ReadOnlyAdmin[SameQuestion]):
    """How many and when. Who doesn't understand something is nobody's business."""

    course_paths = ("thread__course",)
    fields = ("thread", "created_at")
    raw_id_fields = ("thread",)
    list_display = ("__str__", "thread", "created_at")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course",)
    sought_through = ("thread",)
    date_hierarchy = "created_at"


@admin.register(ThreadRead)
class ThreadReadAdmin(ReadOnlyAdmin[ThreadRead]):
    """Without names: the first to have read a thread is its author."""

    course_paths = ("thread__course",)
    fields = ("thread", "read_at", "is_counted")
    raw_id_fields = ("thread",)
    list_display = ("__str__", "thread", "read_at", "is_counted")
    list_filter = ("is_counted", ("thread__course", ScopedRelatedFilter))
    list_select_related = ("thread__course",)
    sought_through = ("thread",)
    date_hierarchy = "read_at"


@admin.register(Mention)
class MentionAdmin(ReadOnlyAdmin[Mention]):
    """Without who is meant: behind a pseudonym stands somebody."""

    course_paths = ("thread__course",)
    fields = ("thread", "post", "created_at")
    raw_id_fields = ("thread", "post")
    list_display = ("__str__", "thread", "post", "created_at")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course", "post")
    sought_through = ("thread",)
    date_hierarchy = "created_at"


@admin.register(Pseudonym)
class PseudonymAdmin(ReadOnlyAdmin[Pseudonym]):
    """Without whose they are: that is what they hide."""

    course_paths = ("thread__course",)
    fields = ("thread", "name")
    raw_id_fields = ("thread",)
    list_display = ("name", "thread")
    list_filter = (("thread__course", ScopedRelatedFilter),)
    list_select_related = ("thread__course",)
    search_fields = ("name",)
    sought_through = ("thread",)
