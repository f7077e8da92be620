"""Response bodies shared by many requests, with an ETag, compressed once."""

import gzip
import re
from hashlib import sha256

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

MAX_AGE_SECONDS = 1  # of a page that all visitors share
HTML = "text/html; charset=utf-8"

# Browsers revalidate by ETag on each request; shared caches may keep it for 2 s.
CACHE_CONTROL = "public, max-age=0, s-maxage=2"

_ACCEPTS_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


class Rendered:
    """Response body that depends on no request. It must contain no secret, which compression would leak (BREACH)."""

    def __init__(self, body: bytes, content_type: str = HTML, headers: dict[str, str] | None = None) -> None:
        self._body = body
        self._gzipped = gzip.compress(body, mtime=0) if content_type == HTML else None
        etag = sha256(body).hexdigest()[:32]
        shared = {"Content-Type": content_type, "Cache-Control": CACHE_CONTROL, **(headers or {})}
        if self._gzipped is not None:
            shared["Vary"] = "Accept-Encoding"
        self._headers = {**shared, "ETag": f'"{etag}"'}
        self._gzip_headers = {**shared, "ETag": f'"{etag}-gzip"', "Content-Encoding": "gzip"}

    def response(self, request: HttpRequest) -> HttpResponse:
        """Return the response: compressed if the client accepts gzip, 304 if its ETag matches."""
        if self._gzipped is not None and _ACCEPTS_GZIP.search(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            response = HttpResponse(self._gzipped, headers=self._gzip_headers)
        else:
            response = HttpResponse(self._body, headers=self._headers)
        # Django documents only decorators for this, which need the ETag before the view has chosen the response.
        return get_conditional_response(request, response.headers["ETag"], response=response) or response
