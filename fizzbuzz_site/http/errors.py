"""Error responses that DRF does not make: problem details under /api/, an HTML page elsewhere."""

import logging
import re
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, TooManyFieldsSent
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.loader import render_to_string
from django.urls import is_valid_path

from fizzbuzz.api.problems import problem_response
from fizzbuzz.bulkhead import RETRY_AFTER_SECONDS, Busy
from fizzbuzz.counts.ranking import CatchingUp
from fizzbuzz.db.faults import Fault, begin_outage, fault_of
from fizzbuzz.request_id import request_id
from fizzbuzz.submissions.idempotency import InvalidKey, KeyInProgress, KeyReused
from fizzbuzz.submissions.record import NotRecorded, OutcomeUnknown
from fizzbuzz_site.serving.gate import REJECTION

INVALID_HOST = (
    "Invalid Host header. The operator can add this name to ALLOWED_HOSTS, if it consists of letters, digits, hyphens "
    "and dots. If not, use another name or the IP address of the service."
)
OUTCOME_UNKNOWN = "The submission may or may not have been recorded: check before you send it again."
# Statuses and details of exceptions that a client causes. If the detail is empty, it is the message of the exception.
RESPONSES: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, ""),
    DisallowedHost: (400, INVALID_HOST),
    InvalidKey: (400, ""),
    TooManyFieldsSent: (400, "Too many fields or parameters. This request recorded nothing; send fewer."),
    KeyInProgress: (409, ""),
    KeyReused: (422, ""),
    Busy: (Busy.status, ""),
}

log = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the response to an exception that the client caused."""
    if isinstance(exception, DisallowedHost) and not is_valid_path(request.path_info):
        return not_found(request, exception)  # as a balancer's probe by IP address expects
    status, detail = RESPONSES.get(type(exception), (400, "The request is malformed."))
    return _error(request, status, detail or str(exception))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    account = "Your account may not do this. Sign in with another account, or contact the operator."
    return _error(request, 403, str(exception) or account)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    detail = (
        "This form was rejected, and nothing was changed: an account signed in or out in another tab, or the browser "
        "sent no cookie, or the Origin or Referer of another site. Reload the page and send the form again, with "
        "cookies enabled. If the site is served over HTTPS, its operator must set HTTPS=1."
    )
    return _error(request, 403, detail)


def too_many_requests(request: HttpRequest, seconds: int) -> HttpResponse:
    detail = f"Rate limit exceeded. This request recorded nothing. Try again in {seconds} s."
    return _error(request, 429, detail, {"Retry-After": str(seconds)})


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any]) -> HttpResponse:
    """Return the response of django-axes for a locked-out client."""
    minutes = settings.AXES_COOLOFF_TIME // timedelta(minutes=1)
    detail = f"Too many failed logins from your IP address. Try again in {minutes} minutes."
    return _error(request, 429, detail, {"Retry-After": str(minutes * 60)})


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _error(request, 404, "Not found: there is nothing at this URL.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _error(request, 500, "Internal server error. Try again; if it persists, contact the operator.")


class ErrorMiddleware:
    """Convert the gate's rejections, database errors and Django's bare 405 responses to our error format."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if rejection := request.META.get(REJECTION):
            return _error(request, rejection.status, str(rejection))
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed):
            allowed = response.headers["Allow"]
            return _error(request, 405, f"Method not allowed; use {allowed}.", {"Allow": allowed})
        if response.status_code == HTTPStatus.PRECONDITION_FAILED:
            return _error(request, 412, "Precondition failed: the resource is not the one in If-Match.")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if type(exception) in RESPONSES:
            return bad_request(request, exception)
        if isinstance(exception, CatchingUp):
            detail = f"{exception} Try again in a moment."
            return _error(request, 503, detail, not_recorded=_is_submission(request))
        if isinstance(exception, DatabaseError | InterfaceError | psycopg.Error):
            return _database_error(request, exception)
        return None


def _database_error(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    fault = fault_of(exception)
    is_write = isinstance(exception, NotRecorded | OutcomeUnknown)
    if fault is not Fault.OURS:
        begin_outage("writes" if is_write else "reads", exception, traceback=fault is not Fault.UNAVAILABLE)
    elif is_write:
        log.error("Database error: %s", exception, exc_info=exception)
    else:
        return None  # Django logs it and returns 500
    if isinstance(exception, OutcomeUnknown):
        return _error(request, 503, "The database gave no confirmation.")
    status = 500 if fault is Fault.OURS else 503
    return _error(request, status, fault.value, not_recorded=is_write)


def _is_submission(request: HttpRequest) -> bool:
    return request.method == "POST" and not request.path.startswith("/admin/")


def _error(
    request: HttpRequest,
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    not_recorded: bool = False,
) -> HttpResponse:
    outcome = {}
    if not_recorded:
        outcome = {"outcome": "not-recorded"}
        detail = f"This request recorded nothing. {detail}"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR and _is_submission(request):
        outcome = {"outcome": "outcome-unknown"}
        detail = f"{detail} {OUTCOME_UNKNOWN}"
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers = headers or {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if re.match("/+api(/|$)", request.path, re.IGNORECASE):
        return problem_response(status, detail, request.path, headers, **outcome)
    # Rendered without the request: its session or account may have caused the error.
    page = render_to_string("error.html", {"status": status, "detail": detail, "request_id": request_id.get()})
    return HttpResponse(page, status=status, headers=headers)
