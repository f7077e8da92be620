"""The endpoint /metrics: metrics of all workers, and gauges read from the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core import worker_metrics
from core.db.deadline import connect_with_deadline
from core.shared_calls import SharedCalls

READ_TIMEOUT_SECONDS = 0.8
MAX_GAUGE_AGE_SECONDS = 1


@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """Return the metrics of all workers, and how far the folds are behind the log."""
    if settings.METRICS_TOKEN:
        if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"):
            text = 'Send "Authorization: Bearer <METRICS_TOKEN>".\n'
            return HttpResponse(text, "text/plain", 401, headers={"WWW-Authenticate": "Bearer"})
    elif not settings.METRICS_PUBLIC:
        return HttpResponse("Metrics are disabled. Set METRICS_TOKEN or METRICS_PUBLIC=1.\n", "text/plain", 403)
    collectors = (worker_metrics.registry(), _Instance(), _Database())
    return HttpResponse(b"".join(map(generate_latest, collectors)), CONTENT_TYPE_LATEST)


class _Gauges(NamedTuple):
    tail: int  # rows
    fold_age: float | None  # seconds; None before the first fold
    connections: int
    max_connections: int


def _read_gauges(_: None) -> _Gauges | None:
    """Read the gauges from the database; return None if it is unavailable."""
    try:
        with connect_with_deadline(READ_TIMEOUT_SECONDS) as database:
            (row,) = database.execute(
                "SELECT COALESCE((SELECT max(id) FROM fizzbuzz_submission), 0) - COALESCE(max(through), 0),"
                " EXTRACT(epoch FROM clock_timestamp() - max(folded_at))::float,"
                " (SELECT sum(numbackends)::int FROM pg_stat_database),"
                " current_setting('max_connections')::int FROM fizzbuzz_watermark"
            )
    except psycopg.Error:
        return None
    return _Gauges(*row)


# Each read opens a connection, so each process reads at most once per second, one at a time.
gauges = SharedCalls(_read_gauges, MAX_GAUGE_AGE_SECONDS)


class _Instance(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        if started := settings.STARTED_AT:
            yield GaugeMetricFamily("fizzbuzz_start_time_seconds", "Unix time at which the service started.", started)
        yield GaugeMetricFamily("fizzbuzz_workers", "Configured number of worker processes.", settings.WEB_CONCURRENCY)


class _Database(Collector):
    """Gauges read from the database. Empty while it is unavailable."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            read = gauges(None)
        except OperationalError:  # another request has been reading for too long
            return
        if read is None:
            return
        yield GaugeMetricFamily("fizzbuzz_tail_rows", "Rows above the watermark, including gaps in the ids.", read.tail)
        if read.fold_age is not None:
            yield GaugeMetricFamily("fizzbuzz_last_fold_age_seconds", "Seconds since the last fold.", read.fold_age)
        yield GaugeMetricFamily("fizzbuzz_database_connections", "Open connections of all clients.", read.connections)
        yield GaugeMetricFamily("fizzbuzz_database_max_connections", "Connections allowed.", read.max_connections)
