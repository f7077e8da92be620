"""Monitoring endpoints: /info, readiness, liveness, and the metrics of all workers."""

import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

import django
import psycopg
from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fizzbuzz import database_setup
from fizzbuzz.counts import folding
from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.db.faults import begin_outage, end_outage
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz_site import __version__
from fizzbuzz_site.serving import worker_metrics

QUERY_TIMEOUT_SECONDS = 0.8  # with libpq's two seconds to connect, a probe gets its response within three
MAX_AGE_SECONDS = 1  # of checks and gauges
METRICS_PATH = "/metrics"  # its view checks METRICS_TOKEN
METHODS = ["GET", "HEAD", "OPTIONS"]
UNREACHABLE = {"database": "unreachable", "migrations": "unknown", "sequence": "unknown"}
WORKER_STARTED_AT = timezone.now()


class ProbesMiddleware:
    """Middleware that handles the probes and /metrics before all but the request log's and SecurityMiddleware.

    They accept any Host and plain http, because Prometheus and orchestrators address an instance by its IP address.
    They are not counted in the request metrics.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == METRICS_PATH:
            return metrics_view(request)
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        answer = probe()  # also for OPTIONS, with which some balancers probe
        answer["Allow"], answer["Cache-Control"] = ", ".join(METHODS), "no-store"
        return answer


@csrf_exempt  # it changes nothing, so an unsafe method gets 405, not 403
@require_safe
def info(request: HttpRequest) -> JsonResponse:
    """Return the versions of the service and its main dependencies, and when this worker process started."""
    connection.ensure_connection()  # the server sends its version with each, so this needs no statement
    return JsonResponse(
        {
            "name": "fizzbuzz",
            "version": __version__,
            "revision": settings.REVISION,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": f"PostgreSQL {connection.connection.info.parameter_status('server_version')}",
            "started_at": WORKER_STARTED_AT.isoformat(),
        }
    )


def ready() -> JsonResponse:
    """Return 200 if requests should be sent to this process, else 503, with the result of each check."""
    try:
        found = checks()
    except OperationalError:  # the check of another request takes too long
        found = UNREACHABLE
    ok = {*found.values()} <= {"ok", "read-only"}
    return JsonResponse({"status": "ok" if ok else "unavailable", "checks": found}, status=200 if ok else 503)


# The process is alive if it can respond.
PROBES: dict[str, Callable[[], JsonResponse]] = {
    "/health": ready,
    "/health/live": lambda: JsonResponse({"status": "ok"}),
}


def _check() -> dict[str, str]:
    try:
        with connect_with_deadline(QUERY_TIMEOUT_SECONDS) as database:
            (read_only,) = database.execute("SHOW transaction_read_only").fetchone() or ("off",)
            status = "read-only" if read_only == "on" else "ok"  # reads work
            if missing := missing_migrations(database):
                return UNREACHABLE | {"database": status, "migrations": f"{missing} not applied"}
            sequence = database_setup.sequence_status(database)
    except psycopg.Error as error:
        begin_outage("reads", error)
        return UNREACHABLE | {"database": error.diag.message_primary or "unreachable"}
    end_outage("reads")
    return {"database": status, "migrations": "ok", "sequence": sequence}


def missing_migrations(database: DeadlineConnection) -> int:
    try:
        applied = set(database.execute("SELECT app, name FROM django_migrations"))
    except psycopg.errors.UndefinedTable:
        applied = set()
    return len(_known_migrations() - applied)


@cache
def _known_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


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


class _Gauges(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        started = settings.STARTED_AT or None
        yield GaugeMetricFamily("fizzbuzz_start_time_seconds", "Unix time at which the service started.", started)
        yield GaugeMetricFamily("fizzbuzz_workers", "Configured number of worker processes.", settings.WEB_CONCURRENCY)
        with suppress(OperationalError):  # another request has been reading for too long
            yield from gauges()


def _read_gauges() -> list[GaugeMetricFamily]:
    """Return gauges read from the database. Empty while it is unavailable."""
    with (
        suppress(psycopg.Error),
        connect_with_deadline(QUERY_TIMEOUT_SECONDS) as database,
        database.cursor() as cursor,
    ):
        tail = folding.tail_rows(cursor)
        ((fold_age, connections, max_connections),) = cursor.execute(
            "SELECT EXTRACT(epoch FROM clock_timestamp() - max(folded_at))::float,"
            " (SELECT sum(numbackends)::int FROM pg_stat_database),"
            " current_setting('max_connections')::int FROM fizzbuzz_watermark"
        )
        return [
            GaugeMetricFamily("fizzbuzz_tail_rows", "Committed rows above the watermark; if many, estimated.", tail),
            GaugeMetricFamily("fizzbuzz_database_connections", "Open connections of all clients.", connections),
            GaugeMetricFamily("fizzbuzz_database_max_connections", "Connections allowed.", max_connections),
            # Without a value before the first fold.
            GaugeMetricFamily("fizzbuzz_last_fold_age_seconds", "Seconds since the last fold.", fold_age),
        ]
    return []


# Anyone can call the probes, and each call opens a connection: a process opens one of each at a time, and at most one
# per second.
checks = SharedCalls(_check, MAX_AGE_SECONDS)
gauges = SharedCalls(_read_gauges, MAX_AGE_SECONDS)
