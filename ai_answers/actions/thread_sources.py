"""What staff endorsed in the forum is a source as well: a material that follows its thread."""

import uuid

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from ai_answers.actions.materials import store_version
from ai_answers.actions.rechecking import enqueue_recheck
from ai_answers.models import Material, MaterialFormat, MaterialKind
from ai_answers.passages import normalise, split_passages
from forum.models import Moderation, Post, Thread, Visibility
from quokkaq.lib.jobs import enqueue

REFRESH_TASK = "ai_answers.refresh_thread_source"
UPKEEP_ROUND = 100


def note_thread_change(*, thread: Thread) -> None:
    """Have the source that a thread is, or may become, brought in line, if the transaction commits that changed it."""
    is_source = Material.objects.filter(thread=thread).exists()
    if is_source or vouched_replies().filter(thread=thread).exists():
        _enqueue(thread.pk, lock=f"thread-source:{thread.pk}")


def vouched_replies() -> QuerySet[Post]:
    """Return the replies staff stand behind: they put their name under them, or wrote them and they were accepted.

    Only those everybody in the course may read, in threads everybody there may read.
    """
    rows = Post.objects.filter(
        parent=None,
        deleted_at=None,
        moderation=Moderation.SHOWN,
        thread__visibility=Visibility.COURSE,
        thread__moderation=Moderation.SHOWN,
        thread__deleted_at=None,
        thread__merged_into=None,
    )
    return rows.filter(Q(endorsement_count__gt=0) | Q(is_by_staff=True, thread__accepted_post=F("pk")))


@transaction.atomic
def refresh_thread_source(thread_id: uuid.UUID) -> None:
    """Bring the source of a thread in line with what it says and who may read it now; done again, it changes nothing.

    The text is the question and the replies staff stand behind, as Markdown; no names of authors, no notes.
    """
    thread = Thread.objects.select_for_update(no_key=True, of=("self",)).filter(pk=thread_id).first()
    if thread is None:
        return
    material = Material.objects.select_for_update(of=("self",)).filter(thread=thread).first()
    text = _source_text(thread)
    if text is None:
        if material is not None and material.deleted_at is None:
            _take_away(material)
        return
    if material is None:
        material = Material(
            institution_id=thread.institution_id, course_id=thread.course_id, kind=MaterialKind.THREAD, thread=thread
        )
        material.title = thread.title
        material.save(force_insert=True)
    elif material.course_id != thread.course_id:
        # Answers in the course it left may not quote it any more. They are checked first: the lock keeps the order.
        material.course_id = thread.course_id
        material.save(update_fields=["course"])
        _take_away(material)
        _enqueue(thread.pk, lock=f"recheck:{material.pk}")
        return
    material.title = thread.title
    if material.deleted_at is not None:
        material.deleted_at = None
        material.save(update_fields=["deleted_at"])
    store_version(material, format=MaterialFormat.MARKDOWN, text=text, spans=split_passages(text), created_by=None)


def refresh_missing_sources() -> int:
    """Enqueue threads with replies staff stand behind that are no source yet; return how many."""
    rows = vouched_replies().filter(thread__as_material=None).order_by("thread").values_list("thread", flat=True)
    keys = list(rows.distinct()[:UPKEEP_ROUND])
    for key in keys:
        _enqueue(key, lock=f"thread-source:{key}")
    return len(keys)


def _source_text(thread: Thread) -> str | None:
    """Return what a thread says as a source; None when it is none."""
    replies = list(vouched_replies().filter(thread=thread).order_by("created_at", "pk").values_list("body", flat=True))
    if not replies:
        return None
    parts = [f"# {thread.title}", thread.body, *(part for reply in replies for part in ("## Answer", reply))]
    return normalise("\n\n".join(parts))


def _take_away(material: Material) -> None:
    material.deleted_at = timezone.now()
    material.save(update_fields=["deleted_at"])
    enqueue_recheck(material=material)


def _enqueue(thread_id: uuid.UUID, *, lock: str) -> None:
    enqueue(REFRESH_TASK, of=None, queue="materials", lock=lock, thread_id=str(thread_id))
