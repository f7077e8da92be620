"""One embedded PostgreSQL for all systems, as `make run` starts it; each system has its own database."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.processes import parent
from fizzbuzz_site.embedded.server import SUPERUSER, USER, Server

ROOT = Path(__file__).resolve().parent.parent
# The peers have their own role, so that settings of the service's role do not apply to them.
PEERS = "peers"
FILL = "INSERT INTO fizzbuzz_submission (number) SELECT 1 + floor(random() * 1000000) FROM generate_series(1, %s)"


@dataclass(frozen=True)
class Postgres:
    socket: str
    programs: Path

    def url(self, database: str) -> str:
        user = USER if database.startswith(("ours", "before")) else PEERS
        return f"postgresql://{user}@/{database}?host={self.socket}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(dbname=database, user=SUPERUSER, host=self.socket, autocommit=True)

    @property
    def pid(self) -> int:
        with self.connect() as connection:
            return parent(connection.info.backend_pid)

    def make_databases(self, *systems: str, rows: int = 0) -> dict[str, str]:
        """Create a database per system. The first must be this service's; the others are copies of it."""
        ours, *others = (f"{system}_{rows}" for system in systems)
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {ours} OWNER {USER}")
        self.manage(ours, "migrate", "--verbosity=0")
        with self.connect(ours) as connection:
            connection.execute(FILL, [rows])
        if rows and self.can(ours, "top_numbers", "--rebuild"):
            self.manage(ours, "top_numbers", "--rebuild")
        with self.connect(ours) as connection:
            connection.execute("VACUUM (ANALYZE)")
        with self.connect() as connection:
            for other in others:
                connection.execute(f"CREATE DATABASE {other} TEMPLATE {ours}")
            connection.execute("CHECKPOINT")
        return {system: f"{system}_{rows}" for system in systems}

    def drop_databases(self, databases: dict[str, str]) -> None:
        with self.connect() as connection:
            for database in databases.values():
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def come_to_rest(self, database: str) -> None:
        """Cancel the queries of disconnected clients."""
        running = "FROM pg_stat_activity WHERE datname = %s AND state = 'active'"
        with self.connect() as connection:
            while connection.execute(f"SELECT pg_cancel_backend(pid) {running}", [database]).fetchall():
                connection.execute("SELECT pg_sleep(0.1)")

    def environment(self, database: str) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": self.url(database),
            "SECRET_KEY": "only for benchmarks, and long enough",
        }

    def manage(self, database: str, *arguments: str) -> str:
        """Return the output of a management command of the service."""
        return self.python(database, "manage.py", *arguments)

    def python(self, database: str, *arguments: str) -> str:
        """Return the output of Python in the service's environment."""
        environment = self.environment(database) | {"DJANGO_SETTINGS_MODULE": "fizzbuzz_site.settings"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def can(self, database: str, command: str, option: str = "") -> bool:
        """Return whether the service has this command with this option."""
        try:
            return option in self.manage(database, command, "--help")
        except subprocess.CalledProcessError:
            return False


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-bench-") as folder:
        Path(folder).chmod(0o711)  # started by root, PostgreSQL runs as another user
        server = Server(Path(folder))
        with psycopg.connect(dbname="postgres", user=SUPERUSER, host=server.acquire(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET max_connections = 200")  # pgbench's 64 come on top of all the pools
        server.release()
        running = Postgres(server.acquire(), server.programs.folder())  # pgbench and psql are among them
        try:
            with running.connect() as connection:
                connection.execute(f"CREATE ROLE {PEERS} LOGIN IN ROLE {USER}")
            yield running
        finally:
            server.release()
