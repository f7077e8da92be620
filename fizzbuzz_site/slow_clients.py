"""Bounds for who sends or reads slowly.

gunicorn itself gives a request's head its `keepalive` of 30 seconds, but waits for a body, and for who doesn't read
the answer, as long as they like.
"""

from __future__ import annotations

import errno
import os
from time import monotonic
from typing import Any

import gevent
from gunicorn.http.body import ChunkedReader

SECONDS = 30  # from the head of a request to the end of its body; for one part of an answer to be taken


def bound(req: Any) -> None:
    req.unreader.sock.settimeout(SECONDS)
    if isinstance(req.body.reader, ChunkedReader):
        req.force_close()  # it is refused unread; gunicorn would look for its end, and answer once more if it's bad
    elif getattr(req.body.reader, "length", 0):
        req.body.reader = _Whole(req)


class _Whole:
    """Reads a body that comes whole and in time; raises OSError where one doesn't."""

    def __init__(self, req: Any) -> None:
        self._req = req
        self._reader = req.body.reader
        self._ends = monotonic() + SECONDS

    def read(self, size: int) -> bytes:
        promised = min(size, self._reader.length)
        if self._req.unreader.buf.seek(0, os.SEEK_END) >= promised:  # it came with the head, as most do
            return self._read(size, promised)
        try:
            with gevent.Timeout(max(self._ends - monotonic(), 0), TimeoutError):
                return self._read(size, promised)
        except Exception:
            self._req.force_close()  # where the next request would begin is unknown
            raise

    def _read(self, size: int, promised: int) -> bytes:
        data: bytes = self._reader.read(size)
        if len(data) < promised:
            # The beginning of a number is another number.
            raise ConnectionResetError(errno.ECONNRESET, "The body ended early.")
        return data
