"""Sending files, watching them being checked, and getting them back."""

import uuid
from functools import wraps

from django.core.files.uploadedfile import UploadedFile
from django.core.validators import slug_re
from django.http import Http404, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts import actions
from accounts.access import Refused, SignedInRequest, get_file, get_member, get_upload
from accounts.decorators import View, login_required
from accounts.models import Purpose, Upload
from accounts.uploading import STORE_AWAY
from quokkaq.lib.inspecting import RefusedFile
from quokkaq.lib.storage import StoreError, serve


def says_why(view: View) -> View:
    """Answer a refusal with a sentence the page shows beside the file."""

    @wraps(view)
    def guarded(request: SignedInRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Refused as refusal:
            return JsonResponse({"problem": str(refusal)}, status=422)
        except RefusedFile as refusal:
            return JsonResponse({"problem": refusal.code.sentence}, status=422)
        except StoreError:
            return JsonResponse({"problem": STORE_AWAY}, status=503, headers={"Retry-After": "10"})

    return guarded


@login_required
@require_POST
@says_why
def start_upload(request: SignedInRequest) -> HttpResponse:
    """Announce a file (`purpose`, `course`, `name`, `size`); say where the browser sends it, with which fields."""
    slug = request.POST.get("course", "")
    try:
        purpose, size = Purpose(request.POST.get("purpose", "")), int(request.POST.get("size", ""))
    except ValueError:
        raise Refused("This file can’t be sent like that. Load the page again.") from None
    name = request.POST.get("name", "").replace("\x00", "")
    if slug and not slug_re.match(slug):
        raise Http404
    member = get_member(request.user, slug) if slug else None
    started = actions.start_upload(by=request.user, purpose=purpose, name=name, size=size, member=member)
    key = started.upload.pk
    ticket = started.ticket
    return JsonResponse(
        {
            "id": str(key),
            "url": ticket.url if ticket else reverse("accounts:upload-content", args=[key]),
            "fields": ticket.fields if ticket else {},
            "confirm": reverse("accounts:upload-confirm", args=[key]),
            "discard": reverse("accounts:upload-discard", args=[key]),
        },
        status=201,
    )


@login_required
@require_POST
@says_why
def upload_content(request: SignedInRequest, upload_id: uuid.UUID) -> HttpResponseBase:
    """Take the bytes of an announced file (`file`), where there is no bucket to send them to."""
    upload = get_upload(request.user, upload_id)
    file = request.FILES.get("file")
    if not isinstance(file, UploadedFile) or file.size != upload.size:
        raise Refused("The file didn’t arrive whole. Send it again.")
    actions.receive_upload(by=request.user, upload=upload, file=file)
    return HttpResponse(status=201)


@login_required
@require_POST
@says_why
def confirm_upload(request: SignedInRequest, upload_id: uuid.UUID) -> HttpResponseBase:
    """Take note that a file has arrived; answer with its line of the list."""
    upload = get_upload(request.user, upload_id)
    return _line(request, actions.confirm_upload(by=request.user, upload=upload))


@login_required
@require_safe
def upload(request: SignedInRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Show how far a file is."""
    return _line(request, get_upload(request.user, upload_id))


@login_required
@require_POST
def discard_upload(request: SignedInRequest, upload_id: uuid.UUID) -> HttpResponse:
    """Give up a file that isn't attached."""
    actions.discard_upload(by=request.user, upload=get_upload(request.user, upload_id))
    return HttpResponse(status=204)


@login_required
@require_safe
def file(request: SignedInRequest, upload_id: uuid.UUID) -> HttpResponseBase:
    """Hand out a checked file to who may read what it is attached to; pictures are shown, all else is a download."""
    found, name = get_file(request.user, upload_id)
    return serve(
        found.storage_key, content_type=found.served_as, download_as=name,
        inline=found.is_image and "download" not in request.GET,
    )  # fmt: skip


def _line(request: SignedInRequest, upload: Upload) -> HttpResponse:
    return render(request, "accounts/_upload.html", {"upload": upload})
