"""`manage.py serve`: what `make run` and the container start."""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from argparse import ArgumentParser
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from fizzbuzz_site.gunicorn import SIGNALS

OUR_CODE = tuple(f"{settings.BASE_DIR}/{package}" for package in ("core", "embedded", "fizzbuzz"))
# Any number will do that nothing else in the database takes; these are the letters "FIZZ".
MIGRATION_LOCK = 0x46495A5A


class Command(BaseCommand):
    help = "Serves the site with gunicorn at HOST and PORT; starts the embedded PostgreSQL unless DATABASE_URL is set."
    requires_system_checks = []  # they import the application, which `handle` does first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--migrate",
            action="store_true",
            help="apply migrations first; the embedded database always gets them",
        )

    def handle(self, *, migrate: bool, **options: Any) -> None:
        self._load_application()
        listener = self._listen()
        try:
            if migrate or settings.EMBEDDED:
                self._migrate()
            else:
                self._warn_of_missing_migrations()
            self._warn_of_lost_durability()
        except OperationalError as error:
            raise CommandError(f"The database can't be reached: {error}".strip()) from error
        self._become_gunicorn(listener)

    def _load_application(self) -> None:
        """Fail here if the workers would, and once instead of for each of them."""
        try:
            import_module("fizzbuzz_site.wsgi")
        except Exception as error:
            ours = [
                f"{each.filename}:{each.lineno}"
                for each in traceback.extract_tb(error.__traceback__)
                if each.filename.startswith(OUR_CODE)
            ]
            what = "".join(traceback.format_exception_only(error)).strip()
            raise CommandError(f"The application can't be loaded ({ours[-1]}).\n{what}") from error
        self.check()

    def _listen(self) -> socket.socket:
        host, port = settings.HOST.strip("[]"), settings.PORT
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (socket.gaierror, UnicodeError) as error:
            raise CommandError(
                f"HOST: {settings.HOST!r} is neither an IP address nor the name of one: write one of this machine's, "
                "0.0.0.0 for all of IPv4, or :: for all."
            ) from error
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        everywhere = address[0] == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(address[:2], family=family, backlog=1024, dualstack_ipv6=everywhere)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise CommandError(
                f"Can't listen on {host} port {port} ({reason}): set HOST or PORT to another."
            ) from error

    def _migrate(self) -> None:
        with connection.cursor() as cursor:  # two instances that start at once take turns
            # A session that waits in the server holds a snapshot, which CREATE INDEX CONCURRENTLY would wait for.
            while not _locked(cursor):
                time.sleep(0.1)
            try:
                call_command("migrate", interactive=False, verbosity=0)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])

    def _warn_of_missing_migrations(self) -> None:
        executor = MigrationExecutor(connection)
        if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
            self._warn(f"{len(plan)} migrations are not applied: run manage.py migrate")

    def _warn_of_lost_durability(self) -> None:
        with connection.cursor() as cursor:
            for name in ("fsync", "synchronous_commit"):
                cursor.execute("SELECT current_setting(%s)", [name])
                if cursor.fetchone() == ("off",):
                    self._warn(f"PostgreSQL runs with {name} off: a crash loses submissions that were acknowledged")

    def _warn(self, message: str) -> None:
        self.stderr.write(self.style.WARNING(f"warning: {message}"))

    def _become_gunicorn(self, listener: socket.socket) -> None:
        """Replaces this process, so that gunicorn's master takes the signals; it joins the embedded server itself."""
        _ensure_temporary_folder()
        listener.set_inheritable(True)
        host, port = listener.getsockname()[:2]
        os.environ["FIZZBUZZ_SERVED_AT"] = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        os.environ["FIZZBUZZ_STARTED_AT"] = str(time.time())
        # Its master finds the configuration from any working directory.
        paths = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        os.environ["WEB_CONCURRENCY"] = str(settings.WEB_CONCURRENCY)  # gunicorn reads it as well, and no empty one
        arguments = ["--bind", f"fd://{listener.fileno()}"]
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        connection.close()
        if settings.EMBEDDED:
            os.environ["FIZZBUZZ_EMBEDDED"] = str(settings.DATA_DIR)
        command = [sys.executable, "-m", "gunicorn", "--config", "python:fizzbuzz_site.gunicorn", *arguments]
        os.execv(sys.executable, [*command, "fizzbuzz_site.wsgi"])  # noqa: S606 - no shell is wanted


def _ensure_temporary_folder() -> None:
    """Where /tmp is read-only, use the data folder for gunicorn's heartbeat."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        if not settings.EMBEDDED:
            raise CommandError("No folder for temporary files is writable: mount one at /tmp, or set TMPDIR") from error
        os.environ["TMPDIR"] = tempfile.tempdir = str(settings.DATA_DIR)


def _locked(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_LOCK])
    row: tuple[bool] = cursor.fetchone()
    return row[0]
