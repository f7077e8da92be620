"""Readiness and liveness, for load balancers and orchestrators."""

from collections.abc import Callable
from functools import cache

import psycopg
from django.db import OperationalError
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import resolve

from fizzbuzz import database_setup
from fizzbuzz.db import faults
from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.shared_calls import SharedCalls

QUERY_TIMEOUT_SECONDS = 0.8  # with libpq's two seconds to connect, a probe gets its response within three
MAX_CHECK_AGE_SECONDS = 1
METRICS_PATH = "/metrics"  # its view checks METRICS_TOKEN
METHODS = ["GET", "HEAD", "OPTIONS"]


class ProbesMiddleware:
    """Middleware that handles the probes and /metrics before any other middleware but the request log's does.

    They accept any Host and plain http, because Prometheus and orchestrators address an instance by its IP address.
    They are not counted in the request metrics.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == METRICS_PATH:
            request.resolver_match = resolve(METRICS_PATH)  # for the line in the log
            return request.resolver_match.func(request)
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in METHODS:
            return HttpResponseNotAllowed(METHODS)
        answer = HttpResponse(headers={"Allow": ", ".join(METHODS)}) if request.method == "OPTIONS" else probe()
        answer["Cache-Control"] = "no-store"
        return answer


def live() -> JsonResponse:
    """Return 200: the process is alive if it can respond."""
    return JsonResponse({"status": "ok"})


def ready() -> JsonResponse:
    """Return 200 if requests should be sent to this process, else 503, with the result of each check."""
    try:
        found = checks()
    except OperationalError:  # the check of another request takes too long
        found = _failed("unreachable")
    ok = {*found.values()} <= {"ok", "read-only"}
    return JsonResponse({"status": "ok" if ok else "unavailable", "checks": found}, status=200 if ok else 503)


def _check() -> dict[str, str]:
    try:
        with connect_with_deadline(QUERY_TIMEOUT_SECONDS) as database:
            (read_only,) = database.execute("SHOW transaction_read_only").fetchone() or ("off",)
            status = "read-only" if read_only == "on" else "ok"  # reads work
            if missing := missing_migrations(database):
                return _failed(status) | {"migrations": f"{missing} not applied"}
            sequence = database_setup.sequence_status(database)
    except psycopg.Error as error:
        faults.begin_outage("reads", error)
        return _failed(error.diag.message_primary or "unreachable")
    faults.end_outage("reads")
    return {"database": status, "migrations": "ok", "sequence": sequence}


# Anyone can call the probes, so a process opens one connection at a time, and at most one per second.
checks = SharedCalls(_check, MAX_CHECK_AGE_SECONDS)


def _failed(database: str) -> dict[str, str]:
    return {"database": database, "migrations": "unknown", "sequence": "unknown"}


def missing_migrations(database: DeadlineConnection) -> int:
    """Return how many migrations are not applied."""
    try:
        applied = set(database.execute("SELECT app, name FROM django_migrations"))
    except psycopg.errors.UndefinedTable:
        applied = set()
    return len(_known_migrations() - applied)


@cache
def _known_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


PROBES: dict[str, Callable[[], JsonResponse]] = {"/health": ready, "/health/live": live}
