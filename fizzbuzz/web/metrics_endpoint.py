"""The endpoint /metrics: what all workers counted, and gauges that are read from the database."""

from __future__ import annotations

from collections.abc import Iterator

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
MAX_AGE_SECONDS = 1  # of the gauges


@require_safe
def metrics_view(request: HttpRequest) -> HttpResponse:
    """What all workers counted, and how far the folds are behind."""
    if settings.METRICS_TOKEN:
        if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {settings.METRICS_TOKEN}"):
            text = "Send the header Authorization: Bearer, and METRICS_TOKEN.\n"
            return HttpResponse(text, "text/plain", 401, headers={"WWW-Authenticate": "Bearer"})
    elif not settings.METRICS_PUBLIC:
        return HttpResponse("Who runs this service must set METRICS_TOKEN, or METRICS_PUBLIC=1.\n", "text/plain", 403)
    metrics = generate_latest(worker_metrics.registry()) + generate_latest(_Rollup())
    return HttpResponse(metrics, CONTENT_TYPE_LATEST)


def _read_gauges(_: None) -> tuple[int, float | None] | None:
    """Return the rows of the tail, and the seconds since the last fold, if there was one; None without a database."""
    try:
        with connect_with_deadline(READ_TIMEOUT_SECONDS) as database:
            ((tail, age),) = database.execute(
                "SELECT COALESCE((SELECT max(id) FROM fizzbuzz_submission), 0) - COALESCE(max(through), 0),"
                " EXTRACT(epoch FROM clock_timestamp() - max(folded_at))::float FROM fizzbuzz_watermark"
            )
    except psycopg.Error:
        return None
    return tail, age


# Each read opens a connection: one at a time, and one a second, per process.
gauges = SharedCalls(_read_gauges, MAX_AGE_SECONDS)


class _Rollup(Collector):
    """Read from the database; nothing while it is away. Workers' files hold only what they counted themselves."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            read = gauges(None)
        except OperationalError:  # another request has been reading for too long
            return
        if read is None:
            return
        tail, age = read
        yield GaugeMetricFamily("fizzbuzz_tail_rows", "Rows above the watermark; gaps count too.", tail)
        if age is not None:
            yield GaugeMetricFamily("fizzbuzz_last_fold_age_seconds", "How long ago the last fold was.", age)
