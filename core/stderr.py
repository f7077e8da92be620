"""Standard error that never blocks: a reader that stalls costs log lines, and no request waits for it."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from socket import MSG_DONTWAIT, socket  # before gevent patches it: its socket would make the shared fd non-blocking


class NonBlockingStderr:
    """Writes each line whole, or drops it."""

    def __init__(self, fd: int = 2) -> None:
        self._send = _non_blocking(fd)
        self._unsent = b""  # end of a line that was sent in part, which has to be sent before any other
        self._dropped = 0

    def write(self, text: str) -> None:
        dropped, self._dropped = self._dropped, 0
        line = text.encode(errors="backslashreplace")
        try:
            if self._unsent:
                self._unsent = self._unsent[self._send(self._unsent) :]
            if self._unsent:
                raise BlockingIOError
            self._unsent = line[self._send(line) :]
        except OSError:  # full, or closed by its reader
            self._dropped = dropped + 1
        else:
            if dropped:
                logging.getLogger(__name__).warning("stderr was blocked: %s log lines dropped.", dropped)

    def flush(self) -> None:
        """Nothing is buffered."""


def _non_blocking(fd: int) -> Callable[[bytes], int]:
    """Return a function that writes to `fd` without waiting. It returns how many bytes were taken, or raises OSError.

    What is not longer than PIPE_BUF is taken whole by a pipe, and by a Unix socket (as systemd's journal gives it),
    so processes that share one do not tear each other's lines.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # Reopened, since O_NONBLOCK holds for all processes that share an open file description.
        with suppress(OSError):
            fd = os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return lambda data: os.write(fd, data)
