"""Error responses outside of DRF's views: problem details under /api/, an HTML page elsewhere."""

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
from django.http.request import split_domain_port
from django.middleware.csrf import REASON_NO_CSRF_COOKIE
from django.template.loader import render_to_string
from django.urls import is_valid_path

from fizzbuzz.api.problems import problem_response
from fizzbuzz.bulkhead import RETRY_AFTER_SECONDS, Busy
from fizzbuzz.counts.ranking import CatchingUp
from fizzbuzz.db.faults import Failing, Fault, begin_outage, fault_of
from fizzbuzz.pages.same_origin import CrossOrigin
from fizzbuzz.request_id import request_id
from fizzbuzz.submissions.idempotency import InvalidKey, KeyInProgress, KeyReused
from fizzbuzz.submissions.outcomes import NotRecorded, OutcomeUnknown
from fizzbuzz_site.serving.gate import REJECTION, Rejection

INVALID_HOST = (
    "The Host header is not a valid host name, which consists of letters, digits, hyphens and dots. Use another name "
    "or the IP address of the service; ALLOWED_HOSTS cannot allow this one."
)
RETRY = {"Retry-After": str(RETRY_AFTER_SECONDS)}
OUTCOME_UNKNOWN = "The submission may or may not have been recorded: check before you send it again."
# Statuses and details of exceptions that a client causes. If the detail is empty, it is the message of the exception.
RESPONSES: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, ""),
    DisallowedHost: (400, "Invalid Host header. The operator can add this name to ALLOWED_HOSTS."),
    InvalidKey: (400, ""),
    TooManyFieldsSent: (400, "Too many fields or parameters. This request recorded nothing; send fewer."),
    KeyInProgress: (409, ""),
    KeyReused: (422, ""),
    Busy: (429, ""),
}

log = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the response to an exception that the client caused."""
    if isinstance(exception, DisallowedHost) and not is_valid_path(request.path_info):
        return not_found(request, exception)  # as a balancer's probe by IP address expects
    # Django does not document this function; a name is valid or not by the same rule as in get_host.
    if isinstance(exception, DisallowedHost) and not split_domain_port(request.META.get("HTTP_HOST", ""))[0]:
        return _error(request, 400, INVALID_HOST)
    if isinstance(exception, Rejection):
        return _error(request, exception.status, str(exception))
    status, detail = RESPONSES.get(type(exception), (400, "The request is malformed."))
    return _error(request, status, detail or str(exception), RETRY if isinstance(exception, Busy) else None)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, CrossOrigin):
        return _error(request, 403, str(exception))
    return _error(request, 403, "Your account may not do this. Sign in with another account, or contact the operator.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if reason == REASON_NO_CSRF_COOKIE:
        detail = "CSRF check failed: enable cookies, reload the page and send the form again."
    elif "checking failed" in reason:  # of Origin or Referer; Django gives the reason only as text
        detail = (
            "CSRF check failed: the Origin or Referer header does not match this site. Allow the browser to send these "
            "headers. If the site is served over HTTPS, its operator must set HTTPS=1."
        )
    else:
        detail = (
            "This page is out of date: an account signed in or out in another tab. Nothing was changed. Reload the "
            "page and send the form again."
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
            return bad_request(request, rejection)
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
            nothing = {"outcome": "not-recorded"} if _is_submission(request) else {}
            detail = f"{exception} {'This request recorded nothing. ' if nothing else ''}Try again in a moment."
            return _error(request, 503, detail, RETRY, **nothing)
        if isinstance(exception, DatabaseError | InterfaceError | psycopg.Error):
            return _database_error(request, exception)
        return None


def _database_error(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    fault = fault_of(exception)
    if fault is Fault.OURS and not isinstance(exception, NotRecorded | OutcomeUnknown):
        return None  # Django logs it and returns 500
    if fault is Fault.OURS:
        log.error("Database error: %s", exception, exc_info=exception)
    else:
        kind: Failing = "writes" if isinstance(exception, NotRecorded | OutcomeUnknown) else "reads"
        begin_outage(kind, exception, traceback=fault is not Fault.UNAVAILABLE)
    if isinstance(exception, OutcomeUnknown):
        return _error(request, 503, "The database gave no confirmation.", RETRY)
    if not isinstance(exception, NotRecorded):
        return _error(request, 503, fault.value, RETRY)
    status, headers = (500, None) if fault is Fault.OURS else (503, RETRY)
    return _error(request, status, f"This request recorded nothing. {fault.value}", headers, outcome="not-recorded")


def _is_submission(request: HttpRequest) -> bool:
    return request.method == "POST" and not request.path.startswith("/admin/")


def _error(
    request: HttpRequest, status: int, detail: str, headers: dict[str, str] | None = None, **more: str
) -> HttpResponse:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and "outcome" not in more and _is_submission(request):
        detail, more["outcome"] = f"{detail} {OUTCOME_UNKNOWN}", "outcome-unknown"
    if re.match("/+api(/|$)", request.path, re.IGNORECASE):
        return problem_response(status, detail, request.path, headers, **more)
    context = {"status": status, "detail": detail, "request_id": request_id.get()}
    kind = "html"
    try:
        # Rendered without the request: its session or account may have caused the error.
        body: str = render_to_string("error.html", context)
    except Exception:
        log.exception("Could not render the error page")
        kind, body = "plain", "{status}: {detail}\n\nRequest {request_id}\n".format(**context)
    return HttpResponse(body, f"text/{kind}; charset=utf-8", status, headers=headers)
