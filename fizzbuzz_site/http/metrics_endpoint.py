"""The endpoint /metrics: metrics of all workers, and gauges read from the database."""

from collections.abc import Iterator
from contextlib import suppress

import psycopg
from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fizzbuzz.counts import folding
from fizzbuzz.db.deadline import connect_with_deadline
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz_site.serving import worker_metrics

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
    metrics = generate_latest(worker_metrics.registry()) + generate_latest(_Gauges())
    return HttpResponse(metrics, CONTENT_TYPE_LATEST)


def _read_gauges() -> list[GaugeMetricFamily]:
    """Return gauges read from the database. Empty while it is unavailable."""
    try:
        with connect_with_deadline(READ_TIMEOUT_SECONDS) as database, database.cursor() as cursor:
            tail = folding.tail_rows(cursor)
            ((fold_age, connections, max_connections),) = cursor.execute(
                "SELECT EXTRACT(epoch FROM clock_timestamp() - max(folded_at))::float,"
                " (SELECT sum(numbackends)::int FROM pg_stat_database),"
                " current_setting('max_connections')::int FROM fizzbuzz_watermark"
            )
    except psycopg.Error:
        return []
    read = [
        GaugeMetricFamily("fizzbuzz_tail_rows", "Committed rows above the watermark; if many, estimated.", tail),
        GaugeMetricFamily("fizzbuzz_database_connections", "Open connections of all clients.", connections),
        GaugeMetricFamily("fizzbuzz_database_max_connections", "Connections allowed.", max_connections),
    ]
    if fold_age is not None:  # null before the first fold
        read.append(GaugeMetricFamily("fizzbuzz_last_fold_age_seconds", "Seconds since the last fold.", fold_age))
    return read


# Each read opens a connection, so each process reads at most once per second, one at a time.
gauges = SharedCalls(_read_gauges, MAX_GAUGE_AGE_SECONDS)


class _Gauges(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        if started := settings.STARTED_AT:
            yield GaugeMetricFamily("fizzbuzz_start_time_seconds", "Unix time at which the service started.", started)
        yield GaugeMetricFamily("fizzbuzz_workers", "Configured number of worker processes.", settings.WEB_CONCURRENCY)
        with suppress(OperationalError):  # another request has been reading for too long
            yield from gauges()
