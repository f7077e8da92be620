#!/usr/bin/env python
"""Django's command line. Foreseeable failures of all commands end with one line and exit code 1."""

import os
import sys

import psycopg
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from fizzbuzz.db.faults import foreseeable
from fizzbuzz_site.embedded.server import EmbeddedError


def main() -> None:
    _open_standard_streams()
    _set_terminal_conventions()
    os.environ["DJANGO_SETTINGS_MODULE"] = os.environ.get("DJANGO_SETTINGS_MODULE") or "fizzbuzz_site.settings"
    try:
        settings.DEBUG  # noqa: B018 - loads the settings, to report an invalid one in one line
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
    except Exception as error:
        explained = _explain(error)
        if "--traceback" in sys.argv or not explained:
            raise
        sys.exit(f"error: {explained}")


def _explain(error: Exception) -> str | None:
    """Return one line about an error that an operator can repair."""
    if isinstance(error, EmbeddedError):
        return str(error)
    if isinstance(error, OSError):
        if not error.filename:  # Python flushes the output again at exit, which must not fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return f"{error.filename or 'output'}: {error.strerror}"
    if isinstance(error, Error | psycopg.Error) and (message := foreseeable(error)):
        return f"The database failed: {message}"
    return None


def _set_terminal_conventions() -> None:
    """Let NO_COLOR, TERM=dumb and --no-color hold for Django's lines, ours and the log."""
    if os.environ.get("TERM") == "dumb" or "--no-color" in sys.argv:
        os.environ["NO_COLOR"] = "1"
    if os.environ.get("NO_COLOR") and "--force-color" not in sys.argv:
        os.environ["DJANGO_COLORS"] = "nocolor"


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
