"""Comparison of whole problem documents (RFC 9457) and error pages."""

from typing import Any

from django.utils.html import escape
from pytest_django.asserts import assertInHTML

# Status and title of each problem type, by slug.
TYPES = {
    "bad-request": (400, "Bad Request"),
    "not-found": (404, "Not Found"),
    "method-not-allowed": (405, "Method Not Allowed"),
    "not-acceptable": (406, "Not Acceptable"),
    "request-timeout": (408, "Request Timeout"),
    "key-in-progress": (409, "Key In Progress"),
    "length-required": (411, "Length Required"),
    "precondition-failed": (412, "Precondition Failed"),
    "content-too-large": (413, "Content Too Large"),
    "unsupported-media-type": (415, "Unsupported Media Type"),
    "key-reused": (422, "Key Reused"),
    "too-many-requests": (429, "Too Many Requests"),
    "internal-error": (500, "Internal Server Error"),
    "unavailable": (503, "Service Unavailable"),
    "not-recorded": (503, "Not Recorded"),
    "outcome-unknown": (503, "Outcome Unknown"),
}


def assert_problem(response: Any, slug: str, detail: str, path: str = "", **more: Any) -> None:
    """Compare a whole response with the problem of this type. Only Django's test client knows the path itself."""
    status, title = TYPES[slug]
    assert response.json() == {
        "type": f"/docs/problems#{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path or response.request["PATH_INFO"].encode("latin-1").decode(),
        "request_id": response.headers["X-Request-ID"],
        **more,
    }
    # The attribute is named differently in Django's responses and in tests.service.Answer.
    assert getattr(response, "status_code", None) == status or response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"


def assert_explained(response: Any, slug: str, detail: str) -> None:
    """Compare a response of Django's test client with this problem under /api/, and with the error page elsewhere."""
    if response.request["PATH_INFO"].startswith("/api/"):
        assert_problem(response, slug, detail)
    else:
        assert_error_page(response, TYPES[slug][0], detail)


def assert_error_page(response: Any, status: int, detail: str) -> None:
    assert (response.status_code, response["Content-Type"]) == (status, "text/html; charset=utf-8")
    assertInHTML(
        f'<div id="problem"><h1 class="answer">{status}</h1><p>{escape(detail)}</p>'
        '<p><a href="/">Back to the first page</a></p>'
        f"<p>Request ID: <code>{response['X-Request-ID']}</code></p></div>",
        response.text,
    )


def assert_errors(response: Any, *errors: tuple[str, str], **more: Any) -> None:
    """Compare a response with a 400 that lists these errors: the pointer or the parameter's name, and the detail."""
    listed = [{"pointer" if where.startswith("#") else "parameter": where, "detail": text} for where, text in errors]
    assert_problem(response, "bad-request", **{"detail": errors[0][1], "errors": listed, **more})
