"""`manage.py serve`: prepare the database and start gunicorn, for `make run` and the container."""

import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from fizzbuzz import database_setup
from fizzbuzz_site.http import monitoring

MIGRATION_LOCK = 0x46495A5A  # key of the advisory lock: "FIZZ"


class Command(BaseCommand):
    help = "Serve the site with gunicorn at HOST and PORT. Without DATABASE_URL, start the embedded PostgreSQL first."
    requires_system_checks = []  # `handle` runs them after importing the application

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--migrate",
            action="store_true",
            help="apply migrations first (always done for the embedded database)",
        )

    def handle(self, *, migrate: bool, **options: Any) -> None:
        sys.tracebacklimit = 5  # the last frames, where the fault is
        import_module("fizzbuzz_site.wsgi")  # fails here, instead of in each worker
        self.check()
        del sys.tracebacklimit
        listener = self._listen()
        with connection.cursor() as cursor:
            if migrate or settings.EMBEDDED:
                self._migrate(cursor)
            elif missing := monitoring.missing_migrations(connection.connection):
                self._warn(f"{missing} migrations are not applied: run manage.py migrate")
            lossy = "SELECT name FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off'"
            cursor.execute(lossy)
            for (name,) in cursor.fetchall():
                self._warn(f"PostgreSQL runs with {name}=off: a crash can lose acknowledged submissions")
        self._become_gunicorn(listener)

    def _listen(self) -> socket.socket:
        host, port = settings.HOST.strip("[]"), settings.PORT
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (socket.gaierror, UnicodeError) as error:
            expected = "an IP address of this machine, 0.0.0.0 for all of IPv4, or :: for all"
            raise CommandError(f"HOST is invalid: write {expected}.") from error
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        dual_stack = address[0] == "::" and socket.has_dualstack_ipv6()
        try:
            return socket.create_server(address, family=family, backlog=1024, dualstack_ipv6=dual_stack)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise CommandError(
                f"Can't listen on {host} port {port} ({reason}): set HOST or PORT to another value."
            ) from error

    def _migrate(self, cursor: Any) -> None:
        """Migrate, with a lock for instances that start concurrently."""
        database_setup.before_migrate()  # before the lock, which PgBouncer would keep
        # Poll: a session that waits in the server holds a snapshot, which would block CREATE INDEX CONCURRENTLY.
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_LOCK])
            if cursor.fetchone() == (True,):
                break
            time.sleep(0.1)
        try:
            call_command("migrate", interactive=False, verbosity=0)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])

    def _warn(self, message: str) -> None:
        self.stderr.write(self.style.WARNING(f"warning: {message}"))

    def _become_gunicorn(self, listener: socket.socket) -> None:
        """Replace this process by gunicorn's master, which then gets the signals and acquires the embedded server."""
        try:
            Path.cwd()
        except FileNotFoundError:  # it was deleted, but gunicorn requires one
            os.chdir(settings.BASE_DIR)
        # They would make gunicorn use inherited sockets, or take itself for the replacement of another master.
        for name in ("GUNICORN_FD", "GUNICORN_PID", "LISTEN_FDS", "LISTEN_PID"):
            os.environ.pop(name, None)
        listener.set_inheritable(True)
        host, port = listener.getsockname()[:2]
        os.environ["FIZZBUZZ_SERVED_AT"] = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        os.environ["FIZZBUZZ_STARTED_AT"] = str(time.time())
        # gunicorn must find its configuration from any working directory.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")]))
        os.environ["WEB_CONCURRENCY"] = str(settings.WEB_CONCURRENCY)  # gunicorn reads it too, and rejects an empty one
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
        connection.close()
        if settings.EMBEDDED:
            os.environ["FIZZBUZZ_EMBEDDED"] = str(settings.DATA_DIR)
        arguments = ["--config", "python:fizzbuzz_site.serving.gunicorn_config", "--bind", f"fd://{listener.fileno()}"]
        command = [sys.executable, "-m", "gunicorn", *arguments, "fizzbuzz_site.wsgi"]
        os.execv(sys.executable, command)  # noqa: S606 - deliberately without a shell
