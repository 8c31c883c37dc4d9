"""The files of a form: those sent before, named by their keys, and those that come with it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.http import HttpRequest

from accounts import actions
from accounts.access import Member, Refused
from accounts.models import Purpose, Upload, User
from quokkaq.lib.inspecting import LIMITS, RefusedFile, extensions
from quokkaq.lib.storage import StoreError

MOST = {Purpose.ATTACHMENT: 10, Purpose.MATERIAL: 20, Purpose.AVATAR: 1, Purpose.EXPORT: 0}
# So many keys of a form are looked at.
MAX_KEYS = 40
STORE_AWAY = "Files can’t be stored now. Your text is still here: try again in a moment, or post without them."


@dataclass
class Files:
    """What a page needs to show the files of a form, and a view to attach them. Listed before they may be attached."""

    purpose: Purpose
    slug: str = ""
    uploads: list[Upload] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[uuid.UUID]:
        return [upload.pk for upload in self.uploads]

    @property
    def accept(self) -> str:
        """Return what the browser's file dialogue offers."""
        return ",".join(extensions(self.purpose))

    @property
    def megabytes(self) -> int:
        """Return the same as people say it."""
        return self.limit // 1024**2

    @property
    def limit(self) -> int:
        """Return how many bytes a file may have."""
        return LIMITS[self.purpose]


def no_files(member: Member, uploads: list[Upload] | None = None) -> Files:
    """Return the files of a form before anything is sent: those it was kept with (`uploads`)."""
    return Files(Purpose.ATTACHMENT, member.course.slug, uploads or [])


def kept_uploads(user: User, keys: object) -> list[Upload]:
    """Return the person's own files with these keys that may still be attached, in that order; others are left out."""
    wanted = []
    for key in keys if isinstance(keys, list) else []:
        try:
            wanted.append(uuid.UUID(str(key)))
        except ValueError:
            continue
    if not wanted:
        return []
    rows = {row.pk: row for row in Upload.objects.visible_to(user).filter(pk__in=wanted[:MAX_KEYS])}
    return [rows[key] for key in dict.fromkeys(wanted) if key in rows and rows[key].state != "expired"]


def take_files(
    request: HttpRequest, user: User, purpose: Purpose, member: Member | None = None, *, has: Sequence[Upload] = ()
) -> Files:
    """Take in the files of a posted form (`files`) beside those sent before (`uploads`, without what is in `drop`).

    `has` are files the text has already, whoever sent them; they stay where their keys are sent along.
    Each file stands for itself: what is wrong with one is said in `problems`, the others are kept.
    """
    dropped = set(request.POST.getlist("drop"))
    keys = [key for key in request.POST.getlist("uploads") if key not in dropped]
    had = [upload for upload in has if str(upload.pk) in keys]
    others = [key for key in keys if key not in {str(upload.pk) for upload in had}]
    found = Files(purpose, member.course.slug if member else "", had + kept_uploads(user, others))
    for file in request.FILES.getlist("files"):
        if len(found.uploads) >= MOST[purpose]:
            found.problems.append(f"Up to {MOST[purpose]} files can be sent at once. The others were left out.")
            break
        try:
            started = actions.start_upload(
                by=user, purpose=purpose, name=str(file.name), size=file.size or 0, member=member
            )
            found.uploads.append(actions.receive_upload(by=user, upload=started.upload, file=file))
        except Refused as refusal:
            found.problems.append(str(refusal))
        except RefusedFile as refusal:
            found.problems.append(f"“{file.name}”: {refusal.code.sentence}")
        except StoreError:
            found.problems.append(STORE_AWAY)
            break
    return found
