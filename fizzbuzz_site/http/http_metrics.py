"""Faster replacement of django-prometheus' two middlewares (a quarter of the CPU time): labels are resolved once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from http import HTTPMethod
from time import perf_counter, process_time
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_prometheus.middleware import Metrics
from prometheus_client import Counter, Histogram

# The label values that django-prometheus uses.
INVALID_METHOD = "<invalid method>"
UNNAMED_VIEW = "<unnamed view>"

_cpu_seconds = Counter("fizzbuzz_worker_cpu_seconds_total", "CPU time of the workers, up to their last request.")


@cache  # clients cannot invent values of the labels, so there are few
def _series(
    method: str, transport: str, view: str | None, status: int, charset: str
) -> tuple[list[Counter], Histogram]:
    """Return the counters and the latency of requests with these labels. `view` is None if none matches the URL."""
    metrics, name = Metrics.get_instance(), view or UNNAMED_VIEW
    counters = [
        metrics.requests_total,
        metrics.responses_total,
        metrics.requests_by_method.labels(method),
        metrics.requests_by_transport.labels(transport),
        metrics.responses_by_status.labels(status),
        metrics.responses_by_status_view_method.labels(status, name, method),
        metrics.responses_by_charset.labels(charset),
    ]
    if view:
        counters.append(metrics.requests_by_view_transport_method.labels(view, transport, method))
    return counters, metrics.requests_latency_by_view_method.labels(name, method)


class RequestMetricsMiddleware:
    """Middleware that updates all metrics of django-prometheus' two middlewares after the response was made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.metrics = Metrics.get_instance()
        self.cpu_counted = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        begun = perf_counter()
        response = self.get_response(request)
        seconds = perf_counter() - begun

        cpu = process_time()
        _cpu_seconds.inc(cpu - self.cpu_counted)
        self.cpu_counted = cpu
        method = request.method if request.method in HTTPMethod.__members__ else INVALID_METHOD
        counters, latency = _series(method, request.scheme, _view(request), response.status_code, response.charset)
        for counter in counters:
            counter.inc()
        latency.observe(seconds)
        self.metrics.requests_latency_before.observe(seconds)
        self.metrics.requests_body_bytes.observe(int(request.META.get("CONTENT_LENGTH") or 0))
        if response.streaming:
            self.metrics.responses_streaming.inc()
        else:
            self.metrics.responses_body_bytes.observe(int(response.headers.get("Content-Length", 0)))
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        self.metrics.exceptions_by_type.labels(type(exception).__name__).inc()
        self.metrics.exceptions_by_view.labels(_view(request) or UNNAMED_VIEW).inc()


def _view(request: HttpRequest) -> str | None:
    match: Any = request.resolver_match
    return match and (match.view_name or UNNAMED_VIEW)
