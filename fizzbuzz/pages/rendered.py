"""Response bodies that many requests share, with their ETag, and compressed once."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

HTML = "text/html; charset=utf-8"

# For browsers: ask each time, and get a 304 if it is still the same. Shared caches may answer for 2 s.
CACHE_CONTROL = "public, max-age=0, s-maxage=2"

_ACCEPTS_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


class Rendered:
    """A body without anything of the request that it was made for. It must hold no secret: BREACH would read it."""

    def __init__(self, body: bytes, content_type: str = HTML, headers: dict[str, str] | None = None) -> None:
        self.body = body
        self._gzipped = gzip.compress(body, mtime=0) if content_type == HTML else None
        etag = sha256(body).hexdigest()[:32]
        shared = {"Content-Type": content_type, "Cache-Control": CACHE_CONTROL, **(headers or {})}
        self._headers = {**shared, "ETag": f'"{etag}"', "Content-Length": str(len(body))}
        if self._gzipped is not None:
            self._headers["Vary"] = "Accept-Encoding"
            self._gzip_headers = {
                **self._headers,
                "ETag": f'"{etag}-gzip"',
                "Content-Encoding": "gzip",
                "Content-Length": str(len(self._gzipped)),
            }

    def response(self, request: HttpRequest) -> HttpResponse:
        """Return the answer to this request: compressed if the client takes that, 304 if it has the same already."""
        if self._gzipped is not None and _ACCEPTS_GZIP.search(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            response = HttpResponse(self._gzipped, headers=self._gzip_headers)
        else:
            response = HttpResponse(self.body, headers=self._headers)
        return get_conditional_response(request, response.headers["ETag"], response=response) or response
