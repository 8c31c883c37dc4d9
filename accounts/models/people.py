"""Who somebody is."""

import zoneinfo
from typing import TYPE_CHECKING, Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import PermissionsMixin
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from accounts.models.base import Institution, InstitutionKey, Tenanted, one_of
from accounts.querysets import UserManager

if TYPE_CHECKING:
    from accounts.models.courses import Enrollment

# The apps whose admin pages an administrator of an institution uses.
RUN_APPS = ("accounts", "forum", "ai_answers")
# What stands where the name of somebody stood who has been erased.
DELETED_USER = "Deleted user"


class Theme(models.TextChoices):
    AUTO = "auto", "Same as my device"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


class InstitutionRole(models.TextChoices):
    """What somebody is at their institution, beside what they are in each course."""

    MEMBER = "member", "Member"
    ADMIN = "admin", "Administrator: runs the institution in Django admin"


def validate_time_zone(name: str) -> None:
    """Raise `ValidationError` unless `name` is an IANA time zone."""
    if name not in zoneinfo.available_timezones():
        raise ValidationError("Choose a time zone from the list, for example Europe/Berlin.")


class User(Tenanted, AbstractBaseUser, PermissionsMixin):
    """A person of one institution, who signs in with an e-mail address. What they may do is said by their enrollments."""

    institution = InstitutionKey(Institution, models.CASCADE, related_name="users")
    email = models.EmailField(max_length=254, unique=True)
    display_name = models.CharField(max_length=80)
    pronouns = models.CharField(max_length=40, blank=True)
    # Where the person's picture lies in the store; empty while there is none.
    avatar = models.CharField(max_length=200, blank=True, editable=False)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    theme = models.CharField(max_length=8, choices=Theme, default=Theme.AUTO)
    # What stands in the addresses of the person's feeds instead of a sign-in; empty while they have none.
    feed_key = models.CharField(max_length=40, null=True, unique=True, editable=False)  # noqa: DJ001 (many have none)
    institution_role = models.CharField(max_length=10, choices=InstitutionRole, default=InstitutionRole.MEMBER)
    is_staff = models.BooleanField("may open Django admin", default=False)
    is_active = models.BooleanField(default=True)
    # When the person last became staff of anything, by whatever way: the database notes it. Sessions get a new key then.
    rights_changed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Since when nothing is left of the person but this row, under which what they wrote goes on standing.
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = UserManager()

    # The course whose page is being opened, by slug, and what lets the person read it: found along with them
    # (`accounts.backends`), and good for one look (`accounts.access.get_member`).
    read_along: tuple[str, "Enrollment | None"] | None = None

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["display_name"]

    class Meta:
        ordering = ["display_name", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case"),
            models.CheckConstraint(condition=~Q(display_name=""), name="user_display_name_given"),
            one_of("theme", Theme, "user"),
            one_of("institution_role", InstitutionRole, "user"),
            models.CheckConstraint(condition=Q(erased_at=None) | Q(is_active=False), name="user_erased_is_inactive"),
        ]
        indexes = [models.Index(fields=["institution", "display_name", "id"], name="user_listing")]

    def __str__(self) -> str:
        return self.display_name

    def get_short_name(self) -> str:
        return self.display_name

    @property
    def is_institution_admin(self) -> bool:
        """True for who runs their institution in Django admin, and nothing beyond it."""
        return self.is_active and self.is_staff and self.institution_role == InstitutionRole.ADMIN

    @property
    def runs_institution(self) -> bool:
        """True for an administrator of the institution, and for an operator of the installation (superuser)."""
        return self.is_superuser or self.is_institution_admin

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Grant administrators of an institution all that admin pages of ours let them do."""
        return (self.is_institution_admin and perm.partition(".")[0] in RUN_APPS) or super().has_perm(perm, obj)

    def has_module_perms(self, app_label: str) -> bool:
        return (self.is_institution_admin and app_label in RUN_APPS) or super().has_module_perms(app_label)

    @property
    def initials(self) -> str:
        """One or two letters for where a picture would be."""
        words = self.display_name.split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()

    @property
    def is_reachable(self) -> bool:
        """False when the address is one nobody can have (RFC 2606): the person's platform told us none."""
        return not self.email.endswith(".invalid")
