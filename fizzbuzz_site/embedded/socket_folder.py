"""The Unix socket of the embedded PostgreSQL: next to the data, under a path that libpq accepts."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from fizzbuzz_site.embedded.programs import Programs

NAME = ".s.PGSQL.5432"
MAX_PATH_BYTES = 107


class Socket:
    """The server's socket. Only the server's user can enter its folder."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._alias: int | None = None

    @property
    def _folder(self) -> Path:
        return self._programs.cluster.with_name("socket")

    @property
    def _spare(self) -> Path:
        """A second link to the socket."""
        return self._programs.cluster / "socket.spare"

    @property
    def host(self) -> str:
        """Its folder, as libpq's `host`. A deleted socket is restored first.

        A path that is too long for a socket, or that libpq or psycopg would misinterpret, is replaced by one that is
        valid in this process and in those that inherit `pass_fds`. Raise OSError if there is no folder.
        """
        folder = self._folder
        if not (folder / NAME).exists():
            with suppress(OSError):  # the server is not running
                self._make_folder()
                os.link(self._spare, folder / NAME)
        plain = re.fullmatch(r"[\w./:+~ -]+", str(folder), re.ASCII)
        if plain and len(os.fsencode(folder / NAME)) <= MAX_PATH_BYTES:
            return str(folder)
        current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        if self._alias is None:
            self._alias = current
        else:  # the folder may have been replaced; existing pools connect to its alias
            os.dup2(current, self._alias, inheritable=False)
            os.close(current)
        return f"/proc/self/fd/{self._alias}"

    @property
    def pass_fds(self) -> list[int]:
        """The file descriptors that a program must inherit to connect to `host`."""
        return [] if self._alias is None else [self._alias]

    def prepare(self) -> None:
        """Create an empty folder before a server starts."""
        if self._folder.is_symlink():  # to a folder in /tmp, made by an earlier version
            self._folder.unlink()
        self._make_folder()
        for stale in (self._folder / NAME, self._folder / f"{NAME}.lock", self._spare):
            stale.unlink(missing_ok=True)

    def keep_spare(self) -> None:
        with suppress(OSError):  # a file system without hard links
            os.link(self._folder / NAME, self._spare)

    def server_pid(self) -> int | None:
        """Return the listening server's process ID, 0 if it is in another PID namespace, None if none listens."""
        size = struct.calcsize("3i")
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.settimeout(1)
            probe.connect(f"{self.host}/{NAME}")
            if sys.platform == "darwin":
                return probe.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID
            pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
            return int(pid)
        return None

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
            self._programs.chown(self._folder)
