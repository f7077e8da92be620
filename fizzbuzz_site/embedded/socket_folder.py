"""The Unix socket of the embedded PostgreSQL: next to the data, in a folder that only the server's user can enter."""

import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from fizzbuzz_site.embedded.programs import EmbeddedError, Programs, reject_odd_path

NAME = ".s.PGSQL.5432"
MAX_PATH_BYTES = 103 if sys.platform == "darwin" else 107


class Socket:
    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    @property
    def _folder(self) -> Path:
        return self._programs.cluster.with_name("socket")

    @property
    def _spare(self) -> Path:
        """A second link to the socket."""
        return self._programs.cluster / "socket.spare"

    @property
    def host(self) -> str:
        """Its folder, as libpq's `host`. A deleted socket is restored first."""
        if not (self._folder / NAME).exists():
            with suppress(OSError):  # the server is not running
                self._make_folder()
                os.link(self._spare, self._folder / NAME)
        return str(self._folder)

    def require_valid_path(self) -> None:
        """Raise EmbeddedError if PostgreSQL or libpq can't use this path."""
        reject_odd_path(self._folder, "Set DATA_DIR to another folder")
        if len(os.fsencode(self._folder / NAME)) > MAX_PATH_BYTES:
            raise EmbeddedError(
                f"The path {self._folder / NAME} is longer than a socket's can be ({MAX_PATH_BYTES} bytes): "
                "set DATA_DIR to a folder with a shorter path, or DATABASE_URL to a server of your own."
            )

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
