"""What goes wrong outside of DRF's views: problem details under /api/, a page elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, RequestDataTooBig, TooManyFieldsSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
from django.template.loader import render_to_string

from fizzbuzz.api.problems import problem_response
from fizzbuzz.idempotency import KeyInProgress
from fizzbuzz.outcomes import NotRecorded, OutcomeUnknown
from fizzbuzz.same_origin import CrossOrigin
from fizzbuzz_site.log_config import request_id

BAD_REQUESTS: dict[type[Exception], str] = {
    DisallowedHost: "The service doesn't go by this name. Who runs it can add it to ALLOWED_HOSTS.",
    TooManyFieldsSent: "That is too many fields or parameters. Nothing was recorded; send fewer.",
}
UNREADABLE = "What was sent did not arrive whole and in time. Nothing was recorded; send it again."
RETRY = {"Retry-After": "5"}  # seconds
AWAY = "The database can't answer right now. Try again in a moment."
NOT_RECORDED = "Nothing was recorded: the database can't take it right now. Send it again in a moment."
OUTCOME_UNKNOWN = "The database was lost on the way: it may have been recorded or not. Look before you send it again."

log = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return _error(request, 413, "That is too large. Nothing was recorded; send less at once.")
    if isinstance(exception, BadRequest):  # says itself what is wrong
        return _error(request, 400, str(exception))
    return _error(request, 400, BAD_REQUESTS.get(type(exception), "The request can't be understood."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, CrossOrigin):
        return _error(request, 403, str(exception))
    return _error(request, 403, "Your account may not do this. Sign in with another, or ask who runs this service.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if getattr(request.META.get("wsgi.input"), "failed", False):  # Django goes on without the form
        return _error(request, 408, UNREADABLE)
    return _error(
        request,
        403,
        "This came without the cookie of its page. Allow cookies, go to the first page, and send it again.",
    )


def too_many_requests(request: HttpRequest, seconds: int) -> HttpResponse:
    detail = f"That is more than one client may send. Nothing was recorded; send it again in {seconds} s."
    return _error(request, 429, detail, {"Retry-After": str(seconds)})


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any]) -> HttpResponse:
    """In place of axes' answer to whoever guessed too often."""
    minutes = settings.AXES_COOLOFF_TIME // timedelta(minutes=1)
    detail = f"Too many wrong passwords for this account from here. Try again in {minutes} minutes."
    return _error(request, 429, detail, {"Retry-After": str(minutes * 60)})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _error(request, 500, "Something broke on our side. Try again; if it stays, tell who runs this service.")


class UnavailableMiddleware:
    """Turns a database that is away into a 503, and what else Django leaves without words into errors with some."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_TRANSFER_ENCODING" in request.META:  # Django reads no body whose length it isn't told
            return _error(request, 411, "A body must come with its Content-Length. Nothing was recorded.")
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response.headers["Allow"]
            return _error(request, 405, f"This address takes nothing but {allowed}.", {"Allow": allowed})
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, KeyInProgress):
            return _error(request, 409, str(exception))
        if isinstance(exception, UnreadablePostError):
            return _error(request, 408, UNREADABLE)
        # After a failover to a standby.
        read_only = isinstance(exception.__cause__, psycopg.errors.ReadOnlySqlTransaction)
        if not isinstance(exception, OperationalError | InterfaceError) and not read_only:
            return None
        log.error("The database is away: %s", exception)
        if isinstance(exception, NotRecorded):
            return _error(request, 503, NOT_RECORDED, RETRY, outcome="not-recorded")
        if isinstance(exception, OutcomeUnknown):
            return _error(request, 503, OUTCOME_UNKNOWN, RETRY, outcome="outcome-unknown")
        return _error(request, 503, AWAY, RETRY)


def _error(
    request: HttpRequest, status: int, detail: str, headers: dict[str, str] | None = None, **more: str
) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_response(status, detail, request.path, headers, **more)
    context = {"status": status, "detail": detail, "request_id": request_id.get()}
    kind = "html"
    try:
        # Without the request, whose session and account may be what is broken.
        body: str = render_to_string("error.html", {**context, "feedback_url": settings.FEEDBACK_URL})
    except Exception:
        log.exception("The error page is broken")
        kind, body = "plain", "{status}: {detail}\n\nRequest {request_id}\n".format(**context)
    return HttpResponse(body, f"text/{kind}; charset=utf-8", status, headers=headers)
