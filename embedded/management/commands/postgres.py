"""`manage.py postgres`: PostgreSQL's own programs, for backup and restore."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import REMAINDER, ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from psycopg.pq import Conninfo

# libpq's environment variables, by the names of its parameters.
VARIABLES = {each.keyword.decode(): each.envvar.decode() for each in Conninfo.get_defaults() if each.envvar}


class Command(BaseCommand):
    help = "Runs a program of PostgreSQL's, such as psql or pg_dump, on the service's database."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("program", help="the embedded PostgreSQL's; with DATABASE_URL, one that is installed")
        parser.add_argument("arguments", nargs=REMAINDER, help="what to pass to it")

    def handle(self, *, program: str, arguments: list[str], **options: Any) -> None:
        given = connection.get_connection_params()  # starts the embedded server if it doesn't run
        known = {VARIABLES[name]: str(value) for name, value in given.items() if name in VARIABLES}
        path = settings.EMBEDDED.binaries() / program if settings.EMBEDDED else program
        pass_fds = settings.EMBEDDED.pass_fds if settings.EMBEDDED else []
        try:
            done = subprocess.run([path, *arguments], env=os.environ | known, pass_fds=pass_fds, check=False)
            sys.exit(done.returncode)
        except OSError as error:
            raise CommandError(f"{program} can't be run: {error.strerror}") from error
