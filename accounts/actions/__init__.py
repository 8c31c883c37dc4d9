"""What changes people and courses. Each action is atomic and writes its audit row."""

from accounts.actions.auditing import audit
from accounts.actions.bans import lift_ban, set_ban
from accounts.actions.courses import (
    SETTINGS,
    lift_posting_stop,
    lock_course,
    set_archived,
    settings_version,
    update_course,
)
from accounts.actions.people import remove_avatar, set_avatar, set_feed_key, update_profile
from accounts.actions.roster import Enrolled, change_enrollments, enroll_people, note_roster_download, rename_section

__all__ = [
    "SETTINGS", "Enrolled", "audit", "change_enrollments", "enroll_people", "lift_ban", "lift_posting_stop",
    "lock_course", "note_roster_download", "remove_avatar", "rename_section", "set_archived", "set_avatar", "set_ban",
    "set_feed_key", "settings_version",
    "update_course", "update_profile",
]  # fmt: skip
