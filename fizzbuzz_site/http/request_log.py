"""Request IDs, and one log line per request."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPMethod
from secrets import token_hex
from time import perf_counter

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from fizzbuzz.request_id import request_id as current
from fizzbuzz_site.http import client_ip
from fizzbuzz_site.http.probes import PROBES
from fizzbuzz_site.serving import log_config

_is_valid = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_log = log_config.request_logger(settings.LOG_LEVEL, readable=settings.LOG_READABLE)


class RequestLogMiddleware:
    """Middleware that sets X-Request-ID and logs one line per request, except for the probes. Must be the first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        start = perf_counter()
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if sent and client_ip.behind_proxy(request) and _is_valid(sent) else token_hex(8)
        current.set(request_id)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = request_id
        if request.path_info not in PROBES:
            match = request.resolver_match
            _log.info(
                "request",
                method=request.method if request.method in HTTPMethod.__members__ else "unknown",
                route=match.view_name if match else "unmatched",
                status=response.status_code,
                ms=round((perf_counter() - start) * 1000, 2),
                client=client_ip.client_ip(request),
            )
        return response
