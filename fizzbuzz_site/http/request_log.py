"""Request ID, log line and metrics of each request."""

import re
from collections.abc import Callable
from functools import cache
from http import HTTPMethod
from secrets import token_hex
from time import perf_counter, process_time
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_prometheus.middleware import Metrics
from prometheus_client import Counter, Histogram

from fizzbuzz.request_id import request_id as current
from fizzbuzz_site.http import client_ip
from fizzbuzz_site.http.monitoring import METRICS_PATH, PROBES
from fizzbuzz_site.serving import log

_is_valid = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
_log = log.request_logger(settings.LOG_LEVEL, readable=settings.LOG_READABLE)
_metrics = Metrics.get_instance()
_cpu_seconds = Counter("fizzbuzz_worker_cpu_seconds_total", "CPU time of the workers, up to their last request.")


class RequestLogMiddleware:
    """Middleware that sets X-Request-ID, and writes a log line and metrics of each request. Must be the first.

    The metrics are those of django-prometheus' two middlewares, for a quarter of their CPU time. Probes have neither a
    log line nor metrics, and /metrics has no metrics.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.cpu_counted = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        start = perf_counter()
        sent = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = sent if _is_valid(sent) and client_ip.behind_proxy(request) else token_hex(8)
        current.set(request_id)
        response = self.get_response(request)
        response.headers["X-Request-ID"] = request_id
        if request.path_info in PROBES:
            return response
        seconds = perf_counter() - start
        method = request.method if request.method in HTTPMethod.__members__ else None
        view = request.resolver_match.view_name if request.resolver_match else None
        is_metrics = request.path_info == METRICS_PATH
        _log(
            method=method or "unknown",
            route="metrics" if is_metrics else view or "unmatched",
            status=response.status_code,
            ms=round(seconds * 1000, 2),
            client=client_ip.client_ip(request),
        )
        if is_metrics:
            return response

        cpu = process_time()
        _cpu_seconds.inc(cpu - self.cpu_counted)
        self.cpu_counted = cpu
        counters, latency = _series(method, request.scheme, view, response.status_code, response.charset)
        for counter in counters:
            counter.inc()
        latency.observe(seconds)
        _metrics.requests_latency_before.observe(seconds)
        _metrics.requests_body_bytes.observe(int(request.META.get("CONTENT_LENGTH") or 0))
        if response.streaming:
            _metrics.responses_streaming.inc()
        else:
            _metrics.responses_body_bytes.observe(int(response.headers.get("Content-Length", 0)))
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        match: Any = request.resolver_match  # of the view that raised it
        _metrics.exceptions_by_type.labels(type(exception).__name__).inc()
        _metrics.exceptions_by_view.labels(match.view_name).inc()


@cache  # clients cannot invent values of the labels, so there are few
def _series(
    method: str | None, transport: str, view: str | None, status: int, charset: str
) -> tuple[list[Counter], Histogram]:
    method, name = method or "<invalid method>", view or "<unnamed view>"  # as django-prometheus names them
    counters = [
        _metrics.requests_total,
        _metrics.responses_total,
        _metrics.requests_by_method.labels(method),
        _metrics.requests_by_transport.labels(transport),
        _metrics.responses_by_status.labels(status),
        _metrics.responses_by_status_view_method.labels(status, name, method),
        _metrics.responses_by_charset.labels(charset),
    ]
    if view:
        counters.append(_metrics.requests_by_view_transport_method.labels(view, transport, method))
    return counters, _metrics.requests_latency_by_view_method.labels(name, method)
