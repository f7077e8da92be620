"""Bodies as Django takes them for granted: whole, and of a known length."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import IO, Any

from django.core.exceptions import BadRequest

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

MOST_CHUNKED = 2 * 1024 * 1024  # bytes that are read of a body without a length; the parsers refuse so many


class _Whole:
    """A body, or an error: what arrived of number=1500 before its sender was lost may read number=15."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body
        self.readline = body.readline

    def read(self, size: int) -> bytes:
        """Django asks for no more than Content-Length says there is."""
        data = self._body.read(size)
        if len(data) < size:
            raise BadRequest("The body is shorter than its Content-Length")
        return data


def with_whole_bodies(application: Application) -> Application:
    def run(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_TRANSFER_ENCODING" in environ:
            # Django would read nothing; and gunicorn, finding a bad chunk behind its answer, would answer once more.
            body = environ["wsgi.input"].read(MOST_CHUNKED)
            environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body)), BytesIO(body)
        elif environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"] = _Whole(environ["wsgi.input"])
        return application(environ, start_response)

    return run
