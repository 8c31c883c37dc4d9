#!/usr/bin/env python
"""QuokkaQ's command line: `python manage.py help`."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "quokkaq.settings")
    from contextlib import nullcontext

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from quokkaq.lib.database.owner import as_owner
    from quokkaq.lib.logs import catch_strays

    # These work for one institution at a time, as the web server does; operators' commands for all of them.
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    scoped = command in ("procrastinate", "receive_mail", "runserver", "logs")
    if command == "procrastinate":
        catch_strays()
    try:
        with nullcontext() if scoped else as_owner():
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
