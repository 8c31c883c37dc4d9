"""Which threads, posts and tags a member may see. Everything that reads goes through `visible_to()`."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, Func, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce, JSONObject

from accounts.access import Member

if TYPE_CHECKING:
    from accounts.models import Course, User
    from forum.models import (
        Assignment,
        Attachment,
        Deflection,
        Draft,
        Endorsement,
        Flag,
        Follow,
        Mail,
        Mention,
        Merge,
        Notification,
        Post,
        Preference,
        Pseudonym,
        ResponseTemplate,
        Revision,
        SameQuestion,
        SavedView,
        SearchEntry,
        StaffNote,
        Tag,
        Thread,
        ThreadAlias,
        ThreadRead,
        ThreadVector,
        Vote,
    )


def _rows(model: str) -> Any:
    """Return the manager of another model of this app by name: models import this module, so it can't import them."""
    return apps.get_model("forum", model).objects


class ThreadQuerySet(models.QuerySet["Thread"]):
    def in_reach_of(self, member: Member) -> "ThreadQuerySet":
        """Return the threads of the member's course that their role lets them read, deleted ones too."""
        threads = self.filter(course=member.course, institution_id=member.course.institution_id)
        if member.is_staff:
            return threads
        return threads.filter(Q(visibility="course", moderation="shown") | Q(author=member.user))

    def visible_to(self, member: Member) -> "ThreadQuerySet":
        """Return the threads the member may read, without those whose replies stand in another one now."""
        return self.in_reach_of(member).filter(deleted_at=None, merged_into=None)

    def questions_in(self, member: Member) -> "ThreadQuerySet":
        """Return the questions of the course that count in its numbers: what is hidden or waits for approval doesn't."""
        return self.in_reach_of(member).counted()

    def counted(self) -> "ThreadQuerySet":
        """Return the questions that count in numbers."""
        return self.filter(deleted_at=None, merged_into=None, kind="question", moderation="shown")

    def with_reader(self, member: Member) -> "ThreadQuerySet":
        """Add `my_read_at`, `my_vote`, `my_same` and `my_follow` of the member."""
        return self.with_read(
            member
        ).annotate(  # type: ignore[no-redef]  # declared on the model
            my_vote=Exists(_rows("Vote").filter(thread=OuterRef("pk"), user=member.user)),
            my_same=Exists(_rows("SameQuestion").filter(thread=OuterRef("pk"), user=member.user)),
            my_follow=Subquery(_rows("Follow").filter(thread=OuterRef("pk"), user=member.user).values("state")[:1]),
        )

    def with_read(self, member: Member) -> "ThreadQuerySet":
        """Add `my_read_at`: up to when the member has read a thread, None for never."""
        read = _rows("ThreadRead").filter(thread=OuterRef("pk"), user=member.user)
        return self.annotate(my_read_at=Subquery(read.values("read_at")[:1]))  # type: ignore[no-redef]  # declared on the model

    def with_merges(self) -> "ThreadQuerySet":
        """Add `has_merged`: whether the replies of another thread stand in it."""
        return self.annotate(has_merged=Exists(_rows("Thread").filter(merged_into=OuterRef("pk"))))  # type: ignore[no-redef]  # declared on the model

    def with_merge(self) -> "ThreadQuerySet":
        """Add `merge_id` of the merge that took a thread's replies to another one."""
        merge = _rows("Merge").filter(source=OuterRef("pk"), undone_at=None)
        return self.annotate(merge_id=Subquery(merge.values("pk")[:1]))  # type: ignore[no-redef]  # declared on the model

    def with_told(self, member: Member) -> "ThreadQuerySet":
        """Add `my_told`: whether something in the member's inbox is about the thread, and unread."""
        unread = _rows("Notification").filter(thread=OuterRef("pk"), user=member.user).unread()
        return self.annotate(my_told=Exists(unread))  # type: ignore[no-redef]  # declared on the model

    def followed_by(self, member: Member) -> "ThreadQuerySet":
        """Return the threads the member wants to hear of."""
        mine = _rows("Follow").filter(thread=OuterRef("pk"), user=member.user, state="following")
        return self.filter(Exists(mine))

    def unread_by(self, member: Member) -> "ThreadQuerySet":
        """Return the threads with something the member hasn't seen."""
        seen = _rows("ThreadRead").filter(
            thread=OuterRef("pk"), user=member.user, read_at__gte=OuterRef("last_activity_at")
        )
        return self.filter(~Exists(seen))

    def listed(self) -> "ThreadQuerySet":
        """Join what a line of the thread list shows; `tag_pairs` holds slug and name of each tag."""
        tags = _rows("Tag").filter(threads=OuterRef("pk")).order_by("name")
        return self.select_related("author", "pseudonym", "assignment").annotate(  # type: ignore[no-redef]  # declared on the model
            tag_pairs=ArraySubquery(tags.values(pair=_TAG))
        )


class PostQuerySet(models.QuerySet["Post"]):
    def visible_to(self, member: Member) -> "PostQuerySet":
        """Return the posts of threads the member may read, without deleted ones."""
        posts = self.filter(
            thread__course=member.course,
            thread__deleted_at=None,
            thread__merged_into=None,
            institution_id=member.course.institution_id,
        )
        if not member.is_staff:
            posts = posts.filter(
                Q(thread__visibility="course", thread__moderation="shown") | Q(thread__author=member.user)
            ).filter(Q(moderation="shown") | Q(author=member.user))
        return posts.filter(deleted_at=None)

    def answers_in(self, member: Member) -> "PostQuerySet":
        """Return the answers of the course that count: replies to questions by somebody else, shown to everybody there.

        Private threads are among them for staff. Comments aren't answers, nor is what the asker adds.
        """
        return self.visible_to(member).counted()

    def counted(self) -> "PostQuerySet":
        """Return the answers that count in numbers."""
        answers = self.filter(
            parent=None, deleted_at=None, moderation="shown", thread__deleted_at=None, thread__merged_into=None,
            thread__moderation="shown", thread__kind="question",
        )  # fmt: skip
        return answers.exclude(author=models.F("thread__author"))

    def credited_to(self, member: Member) -> "PostQuerySet":
        """Return the replies a member gets points for: their own, not comments, neither deleted nor hidden."""
        return self.visible_to(member).filter(
            author=member.user, parent=None, moderation="shown", thread__moderation="shown"
        )

    def shown_to(self, member: Member) -> "PostQuerySet":
        """Return the posts a thread page needs, deleted ones as well (the page shows what they leave behind)."""
        posts = self.filter(institution_id=member.course.institution_id)
        if not member.is_staff:
            posts = posts.filter(Q(moderation="shown") | Q(author=member.user))
        return (
            posts.select_related("author", "pseudonym")  # type: ignore[no-redef]  # declared on the model
            .annotate(
                my_vote=Exists(_rows("Vote").filter(post=OuterRef("pk"), user=member.user)),
                endorsers=ArraySubquery(
                    _rows("Endorsement").filter(post=OuterRef("pk")).order_by("created_at", "pk").values(json=_ENDORSER)
                ),
            )
            .order_by("created_at", "id")
        )


_TAG = Func("slug", "name", template="ARRAY[%(expressions)s]", output_field=ArrayField(models.TextField()))
_ENDORSER = JSONObject(
    key="endorser_id",
    name="endorser__display_name",
    role="role",
    is_gone=Q(endorser=None) | Q(endorser__erased_at__isnull=False),
)


class AttachmentQuerySet(models.QuerySet["Attachment"]):
    def visible_to(self, member: Member) -> "AttachmentQuerySet":
        """Return the files that stand with threads and posts the member may read."""
        return self.filter(
            Q(thread__in=_rows("Thread").visible_to(member)) | Q(post__in=_rows("Post").visible_to(member)),
            institution_id=member.course.institution_id,
        )

    def around(self, thread: "uuid.UUID", institution: "uuid.UUID") -> "AttachmentQuerySet":
        """Return the files of a thread and of all its posts: the caller shows those of texts that the reader may read."""
        return self.filter(Q(thread=thread) | Q(post__thread=thread), institution_id=institution).select_related(
            "upload"
        )


class TagQuerySet(models.QuerySet["Tag"]):
    def visible_to(self, member: Member) -> "TagQuerySet":
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class RevisionQuerySet(models.QuerySet["Revision"]):
    def visible_to(self, member: Member) -> "RevisionQuerySet":
        """Return the earlier versions of threads and posts the member may read."""
        return self.filter(
            Q(thread__in=_rows("Thread").visible_to(member)) | Q(post__in=_rows("Post").visible_to(member)),
        )


class VoteQuerySet(models.QuerySet["Vote"]):
    def visible_to(self, member: Member) -> "VoteQuerySet":
        """Return the member's own votes: who else voted is nobody's business."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)

    def received_by(self, member: Member) -> "VoteQuerySet":
        """Return what others voted for answers of the member that can be read; say when, never who."""
        answers = _rows("Post").credited_to(member)
        return self.filter(post__in=answers).exclude(user=member.user)


class EndorsementQuerySet(models.QuerySet["Endorsement"]):
    def visible_to(self, member: Member) -> "EndorsementQuerySet":
        return self.filter(post__in=_rows("Post").visible_to(member))


class ThreadReadQuerySet(models.QuerySet["ThreadRead"]):
    def visible_to(self, member: Member) -> "ThreadReadQuerySet":
        """Return the member's own read marks."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)


class PseudonymQuerySet(models.QuerySet["Pseudonym"]):
    def visible_to(self, member: Member) -> "PseudonymQuerySet":
        """Return the member's own pseudonyms: whose the others are is what they hide."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)


class SameQuestionQuerySet(models.QuerySet["SameQuestion"]):
    def visible_to(self, member: Member) -> "SameQuestionQuerySet":
        """Return the member's own: who else wonders is nobody's business."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)


class MentionQuerySet(models.QuerySet["Mention"]):
    def visible_to(self, member: Member) -> "MentionQuerySet":
        """Return where the member is called by name, in threads they may read."""
        return self.filter(user=member.user, thread__in=_rows("Thread").visible_to(member))


class StaffNoteQuerySet(models.QuerySet["StaffNote"]):
    def visible_to(self, member: Member) -> "StaffNoteQuerySet":
        """Return the notes of the course to its staff, and nothing to anybody else."""
        if not member.is_staff:
            return self.none()
        return self.filter(
            thread__course=member.course, institution_id=member.course.institution_id, deleted_at=None
        ).select_related("author")


class DraftQuerySet(models.QuerySet["Draft"]):
    def visible_to(self, member: Member) -> "DraftQuerySet":
        """Return the member's own drafts in the course."""
        return self.filter(user=member.user, course=member.course, institution_id=member.course.institution_id)


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def visible_to(self, member: Member) -> "SavedViewQuerySet":
        """Return the member's own views of the course."""
        return self.filter(user=member.user, course=member.course, institution_id=member.course.institution_id)


class SearchEntryQuerySet(models.QuerySet["SearchEntry"]):
    def visible_to(self, member: Member) -> "SearchEntryQuerySet":
        """Return the entries of threads and posts the member may read.

        As correlated `EXISTS`: the index on words comes first, and what it finds is checked row by row. A post that may
        be read stands in a thread that may be read.
        """
        return self.filter(self._thread_seen(member) | self._post_seen(member))

    def of_threads(self, member: Member) -> "SearchEntryQuerySet":
        """Return the entries of threads the member may read. An "or" with those of posts would read all of both first."""
        return self.filter(self._thread_seen(member))

    @staticmethod
    def _thread_seen(member: Member) -> Q:
        return Q(post=None) & Q(Exists(_rows("Thread").visible_to(member).filter(pk=OuterRef("thread_id"))))

    @staticmethod
    def _post_seen(member: Member) -> Q:
        return Q(post__isnull=False) & Q(Exists(_rows("Post").visible_to(member).filter(pk=OuterRef("post_id"))))

    def in_course(self, member: Member, words: str) -> "SearchEntryQuerySet":
        """Return the entries of the member's course that fit `words`, a `tsquery`."""
        return self.filter(vector__matches=in_course(member.course, words))


class ThreadVectorQuerySet(models.QuerySet["ThreadVector"]):
    def visible_to(self, member: Member) -> "ThreadVectorQuerySet":
        return self.filter(thread__in=_rows("Thread").visible_to(member))


def course_lexeme(course: "Course") -> str:
    """Return the word that stands for the course in every search entry (migration 0006 writes the same)."""
    return f"crs:{course.pk.hex}"


def in_course(course: "Course", words: str) -> str:
    """Return the `tsquery` that search entries of the course fit when they fit `words`."""
    return f"'{course_lexeme(course)}' & ({words})"


class DeflectionQuerySet(models.QuerySet["Deflection"]):
    def visible_to(self, member: Member) -> "DeflectionQuerySet":
        """Return the member's own: who nearly asked what is nobody's business."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)

    def countable_by(self, member: Member) -> "DeflectionQuerySet":
        """Return those of the course, for its staff to count and for nobody to list."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class FactQuerySet(models.QuerySet[Any]):
    def countable_by(self, member: Member) -> "FactQuerySet":
        """Return those of the course, for its staff to count and for nobody to list."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    def visible_to(self, member: Member) -> "AssignmentQuerySet":
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class FollowQuerySet(models.QuerySet["Follow"]):
    def visible_to(self, member: Member) -> "FollowQuerySet":
        """Return the member's own: who else follows what is nobody's business."""
        return self.filter(user=member.user, institution_id=member.course.institution_id)


def _readable(user: "User") -> Q:
    """Return the condition on rows with `course`, `thread` and `post` that `user` may read what they are about.

    The rule of `ThreadQuerySet.visible_to` and `PostQuerySet.visible_to`, over all courses of a person at once.
    """
    runs = Q(course__in=user.enrollments.staff().values("course"))
    mine = Q(course__in=user.enrollments.reading().values("course"), institution_id=user.institution_id)
    thread = Q(thread__visibility="course", thread__moderation="shown") | Q(thread__author=user) | runs
    post = Q(post=None) | (Q(post__deleted_at=None) & (Q(post__moderation="shown") | Q(post__author=user) | runs))
    return mine & Q(thread__deleted_at=None, thread__merged_into=None) & thread & post


class NotificationQuerySet(models.QuerySet["Notification"]):
    def visible_to(self, user: "User") -> "NotificationQuerySet":
        """Return the person's own, about what they may still read."""
        return self.filter(_readable(user), user=user)

    def with_what(self) -> "NotificationQuerySet":
        """Join what a sentence about them needs."""
        return self.select_related(
            "thread__author", "thread__pseudonym", "post__author", "post__pseudonym", "actor", "course"
        )

    def unread(self) -> "NotificationQuerySet":
        """Return those that stand in an inbox and weren't opened."""
        return self.filter(in_app=True, read_at=None)


class PreferenceQuerySet(models.QuerySet["Preference"]):
    def visible_to(self, user: "User") -> "PreferenceQuerySet":
        return self.filter(user=user)


class MailQuerySet(models.QuerySet["Mail"]):
    def visible_to(self, user: "User") -> "MailQuerySet":
        return self.filter(user=user)


# Equal for flags that wait for one decision or were closed by one.
_WHEN = Coalesce("decided_at", Value(datetime.fromtimestamp(0, UTC)))


class FlagQuerySet(models.QuerySet["Flag"]):
    def visible_to(self, member: Member) -> "FlagQuerySet":
        """Return the flags of the course to its staff, and to others their own."""
        flags = self.filter(thread__course=member.course, institution_id=member.course.institution_id)
        return flags if member.is_staff else flags.filter(user=member.user)

    def in_sight(self) -> "FlagQuerySet":
        """Leave out flags of deleted texts: there is nothing to decide until one is restored."""
        return self.filter(Q(post=None) | Q(post__deleted_at=None), thread__deleted_at=None)

    def of_texts(self) -> "FlagQuerySet":
        """Add `text`, the id of the flagged post or else thread."""
        return self.annotate(text=Coalesce("post_id", "thread_id"))  # type: ignore[no-redef]  # declared on the model

    def one_per_decision(self) -> "FlagQuerySet":
        """Return the first flag of each text that waits for a decision, and of each decision about one."""
        before = _rows("Flag").of_texts().filter(text=OuterRef("text"), id__lt=OuterRef("id"))
        same = before.annotate(when=_WHEN).filter(when=OuterRef("when"))
        return self.of_texts().annotate(when=_WHEN).filter(~Exists(same))

    def with_text(self) -> "FlagQuerySet":
        """Join the flagged text with its author."""
        return self.select_related(
            "thread__author", "thread__pseudonym", "post__author", "post__pseudonym", "decided_by"
        )

    def about_same_as(self, firsts: "Sequence[Flag]") -> "dict[uuid.UUID, list[Flag]]":
        """Return for the id of each of `one_per_decision()` the flags that go with it, oldest first. One query."""
        texts = [flag.post_id or flag.thread_id for flag in firsts]
        together: dict[tuple[uuid.UUID, Any], list[Flag]] = {}
        for flag in self.of_texts().filter(Q(text__in=texts)).order_by("created_at", "pk"):
            together.setdefault((flag.text, flag.decided_at), []).append(flag)
        return {flag.pk: together[(flag.text, flag.decided_at)] for flag in firsts}


class MergeQuerySet(models.QuerySet["Merge"]):
    def visible_to(self, member: Member) -> "MergeQuerySet":
        """Return the merges of the course to its staff."""
        if not member.is_staff:
            return self.none()
        return self.filter(target__course=member.course, institution_id=member.course.institution_id)


class ThreadAliasQuerySet(models.QuerySet["ThreadAlias"]):
    def visible_to(self, member: Member) -> "ThreadAliasQuerySet":
        """Return where threads of the member's course went; whether they may read them there is asked there."""
        return self.filter(course=member.course, institution_id=member.course.institution_id)


class ResponseTemplateQuerySet(models.QuerySet["ResponseTemplate"]):
    def visible_to(self, member: Member) -> "ResponseTemplateQuerySet":
        """Return the templates of the course to its staff."""
        if not member.is_staff:
            return self.none()
        return self.filter(course=member.course, institution_id=member.course.institution_id)
