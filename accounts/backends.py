"""Who a pair of address and password belongs to, and who a session belongs to."""

from typing import Any
from uuid import UUID

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from quokkaq.lib.database.prepared import Prepared

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
        """Return the person with their institution: what it asks of its people is looked at with every page."""
        try:
            key = user_id if isinstance(user_id, UUID) else UUID(str(user_id))
        except ValueError:
            return None
        user = _PERSON(person=key).first()
        return user if user is not None and self.user_can_authenticate(user) else None
