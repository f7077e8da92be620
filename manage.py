#!/usr/bin/env python
"""Django's command line."""

import os
import sys

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import DatabaseError

from fizzbuzz.db.faults import foreseeable
from fizzbuzz_site.embedded.server import EmbeddedError


def main() -> None:
    _open_standard_streams()
    os.environ["DJANGO_SETTINGS_MODULE"] = os.environ.get("DJANGO_SETTINGS_MODULE") or "fizzbuzz_site.settings"
    try:
        settings.DEBUG  # noqa: B018 - loads the settings, to report an invalid one in one line
    except (ImproperlyConfigured, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        execute_from_command_line(sys.argv)
    except EmbeddedError as error:
        sys.exit(f"error: {error}")
    except (DatabaseError, psycopg.Error) as error:
        if not (message := foreseeable(error)):
            raise
        sys.exit(f"error: The database failed: {message}")


def _open_standard_streams() -> None:
    """Open /dev/null for each closed standard stream. Otherwise, the next file or socket would get its number."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        os.set_inheritable(fd, True)  # noqa: FBT003 - its only argument
    os.close(fd)
    # Python sets closed ones to None.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
