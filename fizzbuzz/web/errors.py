"""What goes wrong outside of DRF's views: problem details under /api/, a page elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, RequestDataTooBig, TooManyFieldsSent
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, UnreadablePostError
from django.http.request import split_domain_port
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.template.loader import render_to_string

from core.bulkhead import RETRY_SECONDS, Busy
from core.db.faults import Fault, fault_of
from core.log_config import request_id
from fizzbuzz.api.problems import problem_response
from fizzbuzz.counts.ranking import CatchingUp
from fizzbuzz.pages.same_origin import CrossOrigin
from fizzbuzz.submissions.idempotency import InvalidKey, KeyInProgress, KeyReused
from fizzbuzz.submissions.outcomes import NotRecorded, OutcomeUnknown

BAD_REQUESTS: dict[type[Exception], str] = {
    DisallowedHost: "The service doesn't go by this name. Who runs it can add it to ALLOWED_HOSTS.",
    TooManyFieldsSent: "That is too many fields or parameters. Nothing was recorded; send fewer.",
}
TOO_LARGE = (
    f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes. Nothing was recorded; send less at once."
)
INVALID_HOST = (
    "The Host header is not a valid host name, which consists of letters, digits, hyphens and dots. Reach the service "
    "by another name or by its IP address; ALLOWED_HOSTS can't help."
)
UNREADABLE = "What was sent did not arrive whole and in time. Nothing was recorded; send it again."
RETRY = {"Retry-After": str(RETRY_SECONDS)}
NOT_RECORDED = "Nothing was recorded."
OUTCOME_UNKNOWN = (
    "The connection to the database was lost: the submission may have been recorded or not. "
    "Check before you send it again."
)
OUTCOMES: dict[type[Exception], str] = {NotRecorded: "not-recorded", OutcomeUnknown: "outcome-unknown"}
# Of exceptions that say themselves what is wrong.
STATUSES: dict[type[Exception], int] = {InvalidKey: 400, KeyInProgress: 409, KeyReused: 422, Busy: 429}

log = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return _error(request, 413, TOO_LARGE)
    if isinstance(exception, DisallowedHost) and not split_domain_port(request.META.get("HTTP_HOST", ""))[0]:
        return _error(request, 400, INVALID_HOST)
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
    if reason == REASON_NO_CSRF_COOKIE:
        detail = "This came without the cookie of its page. Allow cookies, go to the first page, and send it again."
    elif "checking failed" in reason:  # of Origin or Referer
        detail = (
            "By its Origin or Referer header, this form is not from this site. Allow the browser to send them. If this "
            "site is served by https, its operator must set HTTPS=1."
        )
    else:
        detail = (
            "This page is out of date: an account signed in or out in another tab. Nothing was changed. Reload the "
            "page and send the form again."
        )
    return _error(request, 403, detail)


def too_many_requests(request: HttpRequest, seconds: int) -> HttpResponse:
    detail = f"That is more than one client may send. Nothing was recorded; send it again in {seconds} s."
    return _error(request, 429, detail, {"Retry-After": str(seconds)})


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any]) -> HttpResponse:
    """In place of axes' answer to whoever guessed too often."""
    minutes = settings.AXES_COOLOFF_TIME // timedelta(minutes=1)
    detail = f"Too many failed logins from your IP address. Try again in {minutes} minutes."
    return _error(request, 429, detail, {"Retry-After": str(minutes * 60)})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _error(request, 500, "Something broke on our side. Try again; if it stays, tell who runs this service.")


class UnavailableMiddleware:
    """Convert database errors to 503, and Django's bare 405/411 responses to our error format."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_TRANSFER_ENCODING" in request.META:  # slow_clients.take_chunks did not take the body
            return _chunks_rejected(request)
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response.headers["Allow"]
            return _error(request, 405, f"This address takes nothing but {allowed}.", {"Allow": allowed})
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        for kind, status in STATUSES.items():
            if isinstance(exception, kind):
                return _error(request, status, str(exception), RETRY if kind is Busy else None)
        if isinstance(exception, RequestDataTooBig):
            return _error(request, 413, TOO_LARGE)
        if isinstance(exception, UnreadablePostError):
            return _error(request, 408, UNREADABLE)
        if isinstance(exception, CatchingUp):
            return _error(request, 503, f"{exception} Try again in a moment.", RETRY)
        if isinstance(exception, DatabaseError | InterfaceError):
            return _database_error(request, exception)
        return None


def _database_error(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    fault = fault_of(exception)
    outcome = OUTCOMES.get(type(exception))
    if fault is Fault.OURS and not outcome:
        return None  # Django logs it, and answers 500
    log.error("Database error (%s): %s", fault.name.lower(), exception, exc_info=fault is not Fault.UNAVAILABLE)
    if fault is Fault.OURS:
        return _error(request, 500, f"{NOT_RECORDED} {fault.value}", outcome="not-recorded")
    if outcome == "outcome-unknown":
        return _error(request, 503, OUTCOME_UNKNOWN, RETRY, outcome=outcome)
    if outcome:
        return _error(request, 503, f"{NOT_RECORDED} {fault.value}", RETRY, outcome=outcome)
    return _error(request, 503, fault.value, RETRY)


def _chunks_rejected(request: HttpRequest) -> HttpResponse:
    if getattr(request.META["wsgi.input"], "failed", False):
        return _error(request, 408, UNREADABLE)
    if "CONTENT_LENGTH" in request.META:
        return _error(request, 413, "A body in chunks may have 1 MiB. Nothing was recorded; send less at once.")
    return _error(request, 411, "This server reads a body only with its Content-Length. Nothing was recorded.")


def _error(
    request: HttpRequest, status: int, detail: str, headers: dict[str, str] | None = None, **more: str
) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_response(status, detail, request.path, headers, **more)
    context = {"status": status, "detail": detail, "request_id": request_id.get()}
    kind = "html"
    try:
        # Without the request, whose session and account may be what is broken.
        body: str = render_to_string("error.html", context)
    except Exception:
        log.exception("The error page is broken")
        kind, body = "plain", "{status}: {detail}\n\nRequest {request_id}\n".format(**context)
    return HttpResponse(body, f"text/{kind}; charset=utf-8", status, headers=headers)
