"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
application = get_wsgi_application()

from quokkaq.lib.metrics import process  # noqa: E402 (needs the settings)

process.this.keep_refreshing()
