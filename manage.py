#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from embedded.server import EmbeddedError


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")
    try:
        settings.DEBUG  # noqa: B018 - loads the settings, to report an invalid one in one line
    except (ImproperlyConfigured, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        execute_from_command_line(sys.argv)
    except EmbeddedError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
