"""What every table shares: keys, the institution, and checked choices."""

from collections.abc import Sequence
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.utils import timezone

from accounts.querysets import InstitutionQuerySet
from quokkaq.lib import tenancy
from quokkaq.lib.uuid7 import uuid7

models.CharField.register_lookup(Length)
models.TextField.register_lookup(Length)


def one_of(field: str, choices: type[models.TextChoices], model: str) -> models.CheckConstraint:
    """Return the CHECK that keeps `field` within its choices, also for writes that bypass forms."""
    return models.CheckConstraint(condition=Q(**{f"{field}__in": choices.values}), name=f"{model}_{field}_known")


class Keyed(models.Model):
    """A row with a UUID version 7 as its key: unique everywhere, and in the order of creation."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


class Institution(Keyed):
    """A tenant. Every other row belongs to exactly one; nothing crosses."""

    name = models.CharField(max_length=200)
    slug = models.SlugField(unique=True)
    # Superusers need a second factor always. This is about people who open Django admin and the staff of courses.
    staff_second_factor = models.BooleanField(
        "staff need a second factor",
        default=True,
        help_text="Who opens Django admin or runs a course signs in with an authenticator app or a passkey as well.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = InstitutionQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class InstitutionKey(models.ForeignKey[Institution, Institution]):
    """The institution a row belongs to: the one in force (`quokkaq.lib.tenancy`), unless another is named.

    For migrations it is a plain foreign key; `manage.py migrate` gives its column the same default in the database.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = super().pre_save(model_instance, add)
        if value is None and add:
            value = tenancy.institution()
            setattr(model_instance, self.attname, value)
        return value

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.ForeignKey", arguments, options


class Tenanted(Keyed):
    """A row of one institution."""

    institution = InstitutionKey(Institution, models.CASCADE, related_name="+", editable=False)

    class Meta:
        abstract = True
