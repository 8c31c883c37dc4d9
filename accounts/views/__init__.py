"""Pages outside a course."""

from accounts.views.entering import sign_in, sign_out
from accounts.views.glass import enter_institution, leave_institution
from accounts.views.joining import invitation, join, join_course
from accounts.views.people import avatar, change_avatar, change_feeds, courses, home, profile
from accounts.views.privacy import data, data_progress, download_data, erase, keep_account
from accounts.views.uploads import confirm_upload, discard_upload, file, start_upload, upload, upload_content

__all__ = [
    "avatar",
    "change_avatar",
    "change_feeds",
    "confirm_upload",
    "courses",
    "data",
    "data_progress",
    "discard_upload",
    "download_data",
    "enter_institution",
    "erase",
    "file",
    "home",
    "invitation",
    "join",
    "join_course",
    "keep_account",
    "leave_institution",
    "profile",
    "sign_in",
    "sign_out",
    "start_upload",
    "upload",
    "upload_content",
]
