"""`manage.py postgres`: PostgreSQL's own programs, for backup and restore."""

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
    help = "Run a PostgreSQL program, such as psql or pg_dump, on the service's database."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "program", help="of the embedded PostgreSQL; with DATABASE_URL, one installed on this machine"
        )
        parser.add_argument("arguments", nargs=REMAINDER, help="passed to the program")

    def handle(self, *, program: str, arguments: list[str], **options: Any) -> None:
        parameters = connection.get_connection_params()  # starts the embedded server if it doesn't run
        environment = {VARIABLES[name]: str(value) for name, value in parameters.items() if name in VARIABLES}
        path = settings.EMBEDDED.programs.folder() / program if settings.EMBEDDED else program
        try:
            sys.exit(subprocess.run([path, *arguments], env=os.environ | environment, check=False).returncode)
        except OSError as error:
            raise CommandError(f"{program} can't be run: {error.strerror}") from error
