"""Timeouts for slow clients (slowloris).

gunicorn limits the time for a request's headers by `keepalive`, but waits without limit for a body, and for a client
that does not read the response. It has no public hook for bodies, so its request and reader objects are used here.
worker.Connection ends a read at `body_deadline`.
"""

import errno
from contextlib import suppress
from time import monotonic
from typing import Any

CLIENT_TIMEOUT_SECONDS = 30  # for the whole body of a request; for each write of a response
MAX_BODY_BYTES = 1024 * 1024  # 10,000 of the longest numbers take 230,000
DISCARDED_BYTES = 64 * 1024  # per read


def begin_request(worker: Any, req: Any) -> None:
    """Start a request: gunicorn's hook `pre_request`."""
    req.unreader.sock.settimeout(CLIENT_TIMEOUT_SECONDS)
    req.unreader.sock.body_deadline = monotonic() + CLIENT_TIMEOUT_SECONDS
    if getattr(req.body.reader, "length", 1):  # in chunks, or not empty
        req.body = _Body(req)


def end_request(req: Any) -> None:
    """Read the rest of a body that was rejected, so that the connection can be used again."""
    if isinstance(req.body, _Body):
        with suppress(OSError):
            while not req.should_close() and req.body.read(DISCARDED_BYTES):
                pass
    req.unreader.sock.head_bytes = 0
    req.unreader.sock.body_deadline = None


class _Body:
    """The body of a request, which the gate reads at once. Raises OSError if it is incomplete, or late.

    After an error, or too many bytes, the start of the next request is unknown, so the connection is closed.
    """

    def __init__(self, req: Any) -> None:
        self._req = req
        self._reader = req.body.reader
        if getattr(self._reader, "length", 0) > MAX_BODY_BYTES:  # the gate rejects it unread
            req.force_close()

    def read(self, size: int) -> bytes:
        expected = min(size, getattr(self._reader, "length", 0))
        try:
            data: bytes = self._reader.read(size)
            if len(data) < expected:
                # A truncated body can parse as a different valid number ("15" of "1500").
                raise ConnectionResetError(errno.ECONNRESET, "The body is incomplete.")  # noqa: TRY301 - it closes, too
        except Exception:
            self._req.force_close()
            raise
        if len(data) > MAX_BODY_BYTES:
            self._req.force_close()
        return data
