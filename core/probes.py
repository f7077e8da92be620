"""Readiness and liveness, for load balancers and orchestrators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg
from django.db import OperationalError
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import resolve

from core.db.deadline import connect_with_deadline
from core.shared_calls import SharedCalls

# Leaves an answer within three seconds, with the two that libpq waits for a connection.
QUERY_TIMEOUT = 0.8
METRICS = "/metrics"  # guarded by its token, in the view
CHECK_SECONDS = 1

Database = psycopg.Connection[tuple[Any, ...]]


class ProbesMiddleware:
    """Middleware that answers the probes and /metrics ahead of all else.

    They may come by any Host and by plain http, as from a Prometheus that knows an instance by its IP address, and are
    not counted.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == METRICS:
            request.resolver_match = resolve(METRICS)  # for the line in the log
            response: HttpResponse = request.resolver_match.func(request)
            return response
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        answer = probe()
        answer["Cache-Control"] = "no-store"
        return answer


def live() -> JsonResponse:
    """The process alone: it answers, so it lives."""
    return JsonResponse({"status": "ok"})


def ready() -> JsonResponse:
    """Whether requests should be sent here: 200 or 503, naming each check."""
    try:
        found = checks(None)
    except OperationalError:  # another request has been asking for too long
        found = _unreachable()
    ok = all(outcome == "ok" for outcome in found.values())
    return JsonResponse({"status": "ok" if ok else "unavailable", "checks": found}, status=200 if ok else 503)


def _check(_: None) -> dict[str, str]:
    try:
        with connect_with_deadline(QUERY_TIMEOUT) as database:
            missing = _known_migrations() - _applied_migrations(database)
            if missing:
                return _unreachable() | {"database": "ok", "migrations": f"{len(missing)} not applied"}
            apps = {name: check(database) for name, check in checks_of_apps.items()}
    except psycopg.Error:
        return _unreachable()
    return {"database": "ok", "migrations": "ok", **apps}


# The probes are open to anyone: one connection at a time, and one a second, per process.
checks = SharedCalls(_check, CHECK_SECONDS)


def _unreachable() -> dict[str, str]:
    return {"database": "unreachable", **dict.fromkeys(["migrations", *checks_of_apps], "unknown")}


def _applied_migrations(database: Database) -> set[tuple[str, str]]:
    try:
        return {(app, name) for app, name in database.execute("SELECT app, name FROM django_migrations")}
    except psycopg.errors.UndefinedTable:
        return set()


@cache
def _known_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


# Each returns "ok", or what is wrong. Asked when the database is there and migrated.
checks_of_apps: dict[str, Callable[[Database], str]] = {}

PROBES: dict[str, Callable[[], JsonResponse]] = {"/health": ready, "/health/live": live}
