"""Timeouts for slow clients (slowloris).

gunicorn limits the time for a request's headers by `keepalive`, but waits without limit for a body, and for a client
that does not read the response. It has no public hook for bodies, so its request and reader objects are used here.
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

CLIENT_TIMEOUT_SECONDS = 30  # for the whole body of a request; for each write of a response
MAX_CHUNKED_BYTES = 1024 * 1024  # as DATA_UPLOAD_MAX_MEMORY_SIZE
CHUNKS_PER_YIELD = 64


def set_timeouts(req: Any) -> None:
    req.unreader.sock.settimeout(CLIENT_TIMEOUT_SECONDS)
    if isinstance(req.body.reader, ChunkedReader):
        req.body.reader = _ChunkedBody(req)
    elif getattr(req.body.reader, "length", 0):
        req.body.reader = _Body(req)


def take_chunks(application: WSGIApplication) -> WSGIApplication:
    """Wrap a WSGI application: replace a chunked body by one with a Content-Length, which Django needs.

    Reads the body even if the view does not, or gunicorn would drain it later and send a second response on a bad
    chunk. A bad chunk raises gunicorn's own error, which it turns into a 400. A body that is too large, incomplete or
    late keeps its Transfer-Encoding, and the application rejects it.
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


class _ChunkedBody(ChunkedReader):  # type: ignore[misc]  # gunicorn has no types
    """Reader of a chunked body. Raises OSError at the deadline, and then closes the connection."""

    def __init__(self, req: Any) -> None:
        super().__init__(req, req.unreader)
        self._deadline = monotonic() + CLIENT_TIMEOUT_SECONDS
        self._chunks = self._bytes = 0

    def read(self, size: int) -> bytes:
        try:
            with gevent.Timeout(max(self._deadline - monotonic(), 0), TimeoutError):
                data: bytes = super().read(size)
        except Exception:
            self.req.force_close()  # the start of the next request is unknown
            raise
        self._bytes += len(data)
        if self._bytes > MAX_CHUNKED_BYTES:
            self.req.force_close()
        return data

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> Any:
        self._chunks += 1
        if self._chunks % CHUNKS_PER_YIELD == 0:
            gevent.sleep(0)  # a body in chunks of one byte would block other requests for seconds
        return super().parse_chunk_size(unreader, data)


class _Body:
    """Reader of a body with a Content-Length. Raises OSError if it is incomplete, or late."""

    def __init__(self, req: Any) -> None:
        self._req = req
        self._reader = req.body.reader
        self._deadline = monotonic() + CLIENT_TIMEOUT_SECONDS

    def read(self, size: int) -> bytes:
        expected = min(size, self._reader.length)
        if self._req.unreader.buf.seek(0, os.SEEK_END) >= expected:  # it arrived with the headers, as most do
            return self._read(size, expected)
        try:
            with gevent.Timeout(max(self._deadline - monotonic(), 0), TimeoutError):
                return self._read(size, expected)
        except Exception:
            self._req.force_close()  # the start of the next request is unknown
            raise

    def _read(self, size: int, expected: int) -> bytes:
        data: bytes = self._reader.read(size)
        if len(data) < expected:
            # A truncated body can parse as a different valid number ("15" of "1500").
            raise ConnectionResetError(errno.ECONNRESET, "The body is incomplete.")
        return data
