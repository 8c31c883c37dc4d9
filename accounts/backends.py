"""Who a pair of address and password belongs to, and who a session belongs to."""

from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.access import enrollment_in
from accounts.models import User
from quokkaq.lib.database.prepared import Asked, Prepared, together

# The course whose page is being opened, by its slug.
opening: ContextVar[str] = ContextVar("opening", default="")
_PERSON = Prepared[User](lambda person: User.objects.get_queryset().select_related("institution").filter(pk=person))


class PersonBackend(ModelBackend):
    """Django's own, by e-mail. An unknown address costs one hash, like a known one."""

    @sensitive_variables("password", "kwargs")
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        name = kwargs.get("email") if username is None else username
        user = super().authenticate(request, username=name, password=password)
        return user if isinstance(user, User) else None

    def get_user(self, user_id: Any) -> User | None:
        """Return the person with their institution: what it asks of its people is looked at with every page.

        Where a page of a course is being opened, what they are in it comes along.
        """
        try:
            key = user_id if isinstance(user_id, UUID) else UUID(str(user_id))
        except ValueError:
            return None
        slug = opening.get()
        asked: list[Asked[Any]] = [_PERSON(person=key), *([enrollment_in(slug, key)] if slug else [])]
        people, *found = together(*asked)
        user: User | None = next(iter(people), None)
        if user is not None and found:
            user.read_along = slug, next(iter(found[0]), None)
        return user if user is not None and self.user_can_authenticate(user) else None
