"""Faster replacement of django-prometheus' two middlewares (a quarter of the CPU time): labels are resolved once."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPMethod
from time import perf_counter, process_time
from typing import Any, NamedTuple

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_prometheus.middleware import Metrics
from prometheus_client import Counter

# The label values that django-prometheus uses.
INVALID_METHOD = "<invalid method>"
UNNAMED_VIEW = "<unnamed view>"

_cpu_seconds = Counter("fizzbuzz_worker_cpu_seconds_total", "CPU time of the workers, up to their last request.")


class _Labels(NamedTuple):
    """Labels of a request's series. Clients cannot invent values, so the number of series is bounded."""

    method: str
    transport: str
    view: str | None  # None if no view matches the URL
    status: str
    charset: str


class _Series:
    """The series of one set of labels."""

    def __init__(self, metrics: Metrics, labels: _Labels) -> None:
        method, transport, view, status, charset = labels
        name = view or UNNAMED_VIEW
        self.counters = [
            metrics.requests_total,
            metrics.responses_total,
            metrics.requests_by_method.labels(method),
            metrics.requests_by_transport.labels(transport),
            metrics.responses_by_status.labels(status),
            metrics.responses_by_status_view_method.labels(status, name, method),
            metrics.responses_by_charset.labels(charset),
        ]
        if view:
            self.counters.append(metrics.requests_by_view_transport_method.labels(view, transport, method))
        self.seconds = metrics.requests_latency_by_view_method.labels(name, method)


class RequestMetricsMiddleware:
    """Middleware that updates all metrics of django-prometheus' two middlewares after the response was made."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.metrics = Metrics.get_instance()
        self.series: dict[_Labels, _Series] = {}
        self.cpu_counted = 0.0

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        begun = perf_counter()
        response = self.get_response(request)
        seconds = perf_counter() - begun

        cpu = process_time()
        _cpu_seconds.inc(cpu - self.cpu_counted)
        self.cpu_counted = cpu
        series = self._series(request, response)
        for counter in series.counters:
            counter.inc()
        series.seconds.observe(seconds)
        self.metrics.requests_latency_before.observe(seconds)
        self.metrics.requests_body_bytes.observe(_length(request.META.get("CONTENT_LENGTH")))
        if response.streaming:
            self.metrics.responses_streaming.inc()
        else:
            self.metrics.responses_body_bytes.observe(_length(response.headers.get("Content-Length")))
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        self.metrics.exceptions_by_type.labels(type(exception).__name__).inc()
        self.metrics.exceptions_by_view.labels(_view(request) or UNNAMED_VIEW).inc()

    def _series(self, request: HttpRequest, response: HttpResponseBase) -> _Series:
        method = request.method if request.method and request.method in HTTPMethod.__members__ else INVALID_METHOD
        labels = _Labels(method, request.scheme or "", _view(request), str(response.status_code), str(response.charset))
        series = self.series.get(labels)
        if series is None:
            series = self.series[labels] = _Series(self.metrics, labels)
        return series


def _view(request: HttpRequest) -> str | None:
    match: Any = request.resolver_match
    return match and (match.view_name or UNNAMED_VIEW)


def _length(header: str | None) -> int:
    """Return the value of a Content-Length header; 0 if it is missing or invalid."""
    return int(header) if header and header.isascii() and header.isdigit() else 0
