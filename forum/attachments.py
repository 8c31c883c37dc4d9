"""Files as the forum's pages show them, and who may have them."""

from collections import defaultdict
from collections.abc import Sequence

from django.http import Http404

from accounts.access import Member, get_member
from accounts.models import Upload, UploadState, User
from forum.models import Anonymity, Attachment, Post, Thread, Writing


def attached_to(
    member: Member, thread: Thread, posts: Sequence[Post], around: Sequence[Attachment]
) -> dict[object, list[Attachment]]:
    """Return what is attached to a thread and its posts by the key of each text, as the member may see it.

    `around` is what `AttachmentQuerySet.around` found; of it, what stands with texts that aren't given is left out.
    Of files that were refused only their author hears; of one that went with its owner's account, everybody.
    """
    writings: dict[object, Writing] = {thread.pk: thread, **{post.pk: post for post in posts}}
    found: dict[object, list[Attachment]] = defaultdict(list)
    for item in around:
        writing = writings.get(item.thread_id or item.post_id)
        if writing is None:
            continue
        # Under a pseudonym no line is left of a file that went with its owner.
        is_removed = item.upload.state == UploadState.EXPIRED and writing.anonymity == Anonymity.NAMED
        if item.upload.is_clean or item.upload.is_under_way or is_removed or writing.is_by(member):
            item.shown_name = item.name_for(writing)
            found[writing.pk].append(item)
    return dict(found)


def name_for_reader(user: User, upload: Upload) -> str | None:
    """Return what an attached file is called for a person, if they may read the text it stands with now."""
    item = (
        Attachment.objects.filter(upload=upload)
        .select_related("upload", "thread__course", "post__thread__course", "post__pseudonym", "thread__pseudonym")
        .first()
    )
    if item is None:
        return None
    thread = item.thread or (item.post.thread if item.post else None)
    if thread is None:
        return None
    try:
        member = get_member(user, thread.course.slug)
    except Http404:
        return None
    if not Attachment.objects.visible_to(member).filter(pk=item.pk).exists():
        return None
    return item.name_for(item.writing)
