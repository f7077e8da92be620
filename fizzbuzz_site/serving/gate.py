"""The gate in front of Django: the body that each kind of URL accepts, checked before any other work is done."""

import re
from contextlib import nullcontext
from io import BytesIO
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from fizzbuzz.bulkhead import Bulkhead, Busy
from fizzbuzz_site.serving.slow_clients import MAX_BODY_BYTES

MAX_FORM_BYTES = 16 * 1024
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class Accepted(NamedTuple):
    media_type: str
    max_bytes: int


# Bodies of POST, by the first part of the URL. No other request's body is used.
ACCEPTED = {
    "/api/": Accepted(JSON, MAX_BODY_BYTES),
    "/admin/": Accepted(FORM, MAX_FORM_BYTES),
    "/": Accepted(FORM, MAX_FORM_BYTES),
}
LARGE_BODY_BYTES = 64 * 1024
MAX_LARGE_BODIES = 16  # received by a worker at the same time, because they are in memory

REJECTION = "fizzbuzz.rejection"  # in the environ of a rejected request: the exception that ErrorMiddleware handles
UNREADABLE = "The request body was incomplete or arrived too slowly. This request recorded nothing; send it again."

_charsets = re.compile(r"""charset\*?\s*=\s*"?([^\s;"]*)""", re.ASCII | re.IGNORECASE)
_large_bodies = Bulkhead("large bodies", MAX_LARGE_BODIES, wait_seconds=5)


class Rejection(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def admit(environ: WSGIEnvironment) -> None:
    """Replace the body by the one that Django may read, whole and with a Content-Length, or by none and a Rejection.

    The Content-Type's parameters are removed: Django would decode by any of Python's codecs that the client names. A
    body that is not read is discarded by slow_clients, or it closes the connection. A bad chunk raises gunicorn's own
    error, which it turns into a 400.
    """
    content_type = environ.pop("CONTENT_TYPE", "")
    length, chunked = environ.get("CONTENT_LENGTH") or "0", "HTTP_TRANSFER_ENCODING" in environ
    if length == "0" and not chunked:
        return
    path, body = environ["PATH_INFO"], b""
    accepted = ACCEPTED.get(path[: path.find("/", 1) + 1] or path) if environ["REQUEST_METHOD"] == "POST" else None
    try:
        if chunked:  # always read, because gunicorn would respond to a bad chunk that it discards
            body = _receive(environ, MAX_BODY_BYTES + 1)
        if accepted:
            _check(environ, content_type, len(body) or int(length), accepted)
            body = body or _receive(environ, int(length))
            environ["CONTENT_TYPE"] = accepted.media_type
    except (Rejection, Busy) as rejection:
        # A traceback's frames hold what was received, and this environ: a circle that only the collector would free.
        rejection.__context__ = None
        environ[REJECTION] = rejection.with_traceback(None)
    if not accepted or REJECTION in environ:
        body = b""
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["wsgi.input"] = BytesIO(body)


def _check(environ: WSGIEnvironment, content_type: str, length: int, accepted: Accepted) -> None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != accepted.media_type:
        detail = f"Send the header Content-Type: {accepted.media_type}. Received {media_type[:60]!a}."
        if (media_type, accepted.media_type) == (FORM, JSON):
            detail += " curl and others send a form without that header."
        raise Rejection(415, detail)
    if any(charset.lower() not in {"utf-8", "utf8"} for charset in _charsets.findall(content_type)):
        raise Rejection(415, "UTF-8 is the only charset. Send the body in UTF-8.")
    coding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if coding != "identity":
        raise Rejection(415, f"The Content-Encoding {coding[:60]!a} is not supported. Send the body without it.")
    if length > accepted.max_bytes:
        detail = f"The body is larger than {accepted.max_bytes} bytes. This request recorded nothing;"
        raise Rejection(413, f"{detail} split it into smaller requests.")


def _receive(environ: WSGIEnvironment, size: int) -> bytes:
    if "HTTP_TRANSFER_ENCODING" in environ and not environ.get("wsgi.input_terminated"):
        raise Rejection(411, "This request needs a Content-Length header. This request recorded nothing.")
    try:
        with _large_bodies.slot() if size > LARGE_BODY_BYTES else nullcontext():
            return environ["wsgi.input"].read(size)
    except OSError:
        raise Rejection(408, UNREADABLE) from None
