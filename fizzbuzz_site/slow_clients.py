"""Bounds for who sends or reads slowly.

gunicorn itself gives a request's head its `keepalive` of 30 seconds, but waits for a body, and for who doesn't read
the answer, as long as they like.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gunicorn.http.body import ChunkedReader

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SECONDS = 30  # from the head of a request to the end of its body; for one part of an answer to be taken
MAX_CHUNKED_BYTES = 1024 * 1024  # as of a body in JSON with its length
CHUNKS_PER_TURN = 64


def bound(req: Any) -> None:
    req.unreader.sock.settimeout(SECONDS)
    if isinstance(req.body.reader, ChunkedReader):
        req.body.reader = _Chunks(req)
    elif getattr(req.body.reader, "length", 0):
        req.body.reader = _Whole(req)


def take_chunks(application: WSGIApplication) -> WSGIApplication:
    """Return a WSGI application that gives this one a body in chunks as one with a Content-Length, which Django needs.

    The body is read here in any case: gunicorn would look for its end after the answer, and answer again if it is bad.
    A bad chunk raises gunicorn's own error, which it answers by 400. A body that is too large, or does not arrive whole
    and in time, keeps its Transfer-Encoding, for the application to reject.
    """

    def read(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ and environ.get("wsgi.input_terminated"):
            with suppress(OSError):
                body = environ["wsgi.input"].read(MAX_CHUNKED_BYTES + 1)
                environ["CONTENT_LENGTH"] = str(len(body))
                if len(body) <= MAX_CHUNKED_BYTES:
                    environ["wsgi.input"] = BytesIO(body)
                    del environ["HTTP_TRANSFER_ENCODING"]
        return application(environ, start_response)

    return read


class _Chunks(ChunkedReader):  # type: ignore[misc]  # gunicorn has no types
    """Reader of a body in chunks that raises OSError at a deadline. The connection ends where the rest is not read."""

    def __init__(self, req: Any) -> None:
        super().__init__(req, req.unreader)
        self._ends = monotonic() + SECONDS
        self._chunks = self._bytes = 0

    def read(self, size: int) -> bytes:
        try:
            with gevent.Timeout(max(self._ends - monotonic(), 0), TimeoutError):
                data: bytes = super().read(size)
        except Exception:
            self.req.force_close()  # where the next request would begin is unknown
            raise
        self._bytes += len(data)
        if self._bytes > MAX_CHUNKED_BYTES:
            self.req.force_close()
        return data

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> Any:
        self._chunks += 1
        if self._chunks % CHUNKS_PER_TURN == 0:
            gevent.sleep(0)  # chunks of single bytes would hold up the other requests for seconds
        return super().parse_chunk_size(unreader, data)


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
