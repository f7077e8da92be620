"""PostgreSQL servers on 127.0.0.1, with the embedded server's programs: one, or a primary and a synchronous standby."""

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from fizzbuzz_site.embedded.programs import Programs
from tests.proxy import free_port
from tests.service import children, eventually

USER = "postgres"
DATABASE = "fizzbuzz"
# Options of a process that runs as an unprivileged user, if root starts it.
_NOBODY = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
UNPRIVILEGED: dict[str, Any] = _NOBODY if os.geteuid() == 0 else {}


class Node:
    """A PostgreSQL server with its data in `folder`. Started by root, it runs as an unprivileged user."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs, self.port = folder, programs, free_port()
        self.conninfo = f"postgresql://{USER}@127.0.0.1:{self.port}/{DATABASE}"

    def copy_of(self, primary: "Node") -> None:
        """Become a standby that streams from `primary`, and start."""
        source = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", USER)
        self._run("pg_basebackup", *source, "-D", str(self.folder), "-X", "stream", "-c", "fast", "-R", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories="
        self.pg_ctl("start", "-o", options, "-l", str(self.folder.with_suffix(".log")))

    def pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder), "-w", *arguments)

    def kill(self) -> None:
        """Kill every process of the server by SIGKILL, as a machine failure does."""
        with suppress(FileNotFoundError):
            pids = self.processes()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert eventually(lambda: not any(Path(f"/proc/{pid}/cwd").exists() for pid in pids))
            (self.folder / "postmaster.pid").unlink()

    def processes(self) -> list[int]:
        postmaster = int((self.folder / "postmaster.pid").read_text().partition("\n")[0])
        return [postmaster, *children(postmaster)]

    def connect(self, database: str = DATABASE) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.conninfo, dbname=database, autocommit=True)

    def query(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with self.connect() as database:
            return database.execute(statement, params).fetchall()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, **UNPRIVILEGED, cwd="/", check=True, stdout=subprocess.DEVNULL)


@contextmanager
def single(data_dir: Path, settings: str = "", *, empty: bool = False) -> Iterator[Node]:
    """Start a server with the migrated database of this data folder, or an empty one, in the folder `servers`."""
    base = data_dir / "servers"
    base.mkdir(exist_ok=True)
    base.chmod(0o777)  # the server may run as another user
    node = Node(base / "first", Programs(data_dir / "postgres").folder())
    subprocess.run(["mv", data_dir / "postgres/data", node.folder], check=True)
    with (node.folder / "postgresql.conf").open("a") as configuration:
        configuration.write(settings)
    try:
        node.start()
        if empty:
            with node.connect("postgres") as database:
                database.execute(f"DROP DATABASE {DATABASE}")
                database.execute(f"CREATE DATABASE {DATABASE}")
        yield node
    finally:
        node.kill()


@contextmanager
def replicated(data_dir: Path) -> Iterator[tuple[Node, Node]]:
    """Start a primary, and a standby that every commit waits for."""
    with single(data_dir, "fsync = off\n") as primary:  # a kill of its processes loses nothing
        standby = Node(primary.folder.with_name("standby"), primary.programs)
        try:
            standby.copy_of(primary)
            with primary.connect() as database:
                database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                database.execute("SELECT pg_reload_conf()")
                synchronous = "SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"
                assert eventually(lambda: bool(database.execute(synchronous).fetchall()))
            yield primary, standby
        finally:
            standby.kill()
