"""Readiness and liveness, for load balancers and orchestrators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from fizzbuzz_site.postgresql.deadline import connect_with_deadline

# Leaves an answer within three seconds, with the two that libpq waits for a connection.
QUERY_TIMEOUT = 0.8


Database = psycopg.Connection[tuple[Any, ...]]


class ProbesMiddleware:
    """Answers the probes ahead of all else: they may come by any Host, by plain http, and are not counted."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = PROBES.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        response = probe()
        response["Cache-Control"] = "no-store"
        return response


def live() -> JsonResponse:
    """The process alone: it answers, so it lives."""
    return JsonResponse({"status": "ok"})


def ready() -> JsonResponse:
    """Whether requests should be sent here: 200 or 503, naming each check."""
    checks = _checks()
    ok = all(outcome == "ok" for outcome in checks.values())
    return JsonResponse({"status": "ok" if ok else "unavailable", "checks": checks}, status=200 if ok else 503)


def _checks() -> dict[str, str]:
    unknown = dict.fromkeys(["migrations", *checks_of_apps], "unknown")
    try:
        with connect_with_deadline(QUERY_TIMEOUT) as database:
            missing = _known_migrations() - _applied_migrations(database)
            if missing:
                return {"database": "ok", **unknown, "migrations": f"{len(missing)} not applied"}
            apps = {name: check(database) for name, check in checks_of_apps.items()}
    except psycopg.Error:
        return {"database": "unreachable", **unknown}
    return {"database": "ok", "migrations": "ok", **apps}


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
