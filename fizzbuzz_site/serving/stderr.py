"""Non-blocking standard error: a stalled reader causes dropped log lines, but never blocks a request."""

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress

# Imported before gevent patches it: gevent would make the shared fd non-blocking.
from socket import MSG_DONTWAIT, socket


class NonBlockingStderr:
    """Writes a line atomically or drops it."""

    def __init__(self, fd: int = 2) -> None:
        self._send = _non_blocking(fd)
        self._unsent = b""  # the rest of a partly sent line, to be sent before any other
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
        except OSError:  # full, or closed by the reader
            self._dropped = dropped + 1
        else:
            if dropped:
                logging.getLogger(__name__).warning("stderr was blocked: %s log lines dropped.", dropped)

    def flush(self) -> None:
        """Nothing is buffered."""


def _non_blocking(fd: int) -> Callable[[bytes], int]:
    """Return a non-blocking function that writes to `fd`. It returns the number of bytes written, or raises OSError.

    Writes of up to PIPE_BUF bytes to a pipe or a Unix socket (such as systemd's journal) are atomic, so processes
    that share one do not mix their lines.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        # Reopen: O_NONBLOCK is shared by all processes with the same open file description.
        with suppress(OSError):
            fd = os.open(f"/dev/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return lambda data: os.write(fd, data)
