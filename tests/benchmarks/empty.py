"""The yardstick: a Django view of 50 KB that loads session and user, and does nothing else.

Served like QuokkaQ itself: `gunicorn -w 2 --threads 4 tests.benchmarks.empty:application`, with `EMPTY_DATABASE` for the
name and `EMPTY_HOST` for the place of its database. What QuokkaQ's pages cost is told as a part of what this costs.
"""

import os
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

PAGE = "<p>nothing in particular</p>\n" * 1800

if not settings.configured:
    settings.configure(
        SECRET_KEY="only-for-measuring-on-this-machine",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": os.environ.get("EMPTY_DATABASE", "empty"),
                "HOST": os.environ.get("EMPTY_HOST", ""),
                "USER": "postgres",
                "CONN_MAX_AGE": 0,
                "CONN_HEALTH_CHECKS": True,
                "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 3}},
            }
        },
        LOGGING_CONFIG=None,
    )
    django.setup()


def nothing(request: HttpRequest) -> HttpResponse:
    """Load who asks, as every page does, and answer with a constant."""
    who: Any = request.user
    return HttpResponse(PAGE if who.is_authenticated else "nobody", status=200 if who.is_authenticated else 403)


urlpatterns = [path("", nothing)]
application = get_wsgi_application()


def furnish() -> str:
    """Make the tables and one person who is signed in; return their session's key."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    call_command("migrate", verbosity=0)
    person, _ = User.objects.get_or_create(username="somebody")
    client = Client()
    client.force_login(person)  # type: ignore[arg-type]  # Django's own, in settings of its own
    connection.close()
    return client.cookies[settings.SESSION_COOKIE_NAME].value


if __name__ == "__main__":
    print(furnish())
