"""Readiness and liveness, for load balancers and orchestrators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import psycopg
from django.db import OperationalError
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from fizzbuzz_site.postgresql import impatient
from fizzbuzz_site.shared_calls import SharedCalls

# Leaves an answer within three seconds, with the two that libpq waits for a connection.
QUERY_TIMEOUT = 0.8
CHECK_SECONDS = 1
UNREACHABLE = {"database": "unreachable", "migrations": "unknown"}


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
    try:
        found = checks(None)
    except OperationalError:  # another request has been asking for too long
        found = UNREACHABLE
    ok = all(outcome == "ok" for outcome in found.values())
    return JsonResponse({"status": "ok" if ok else "unavailable", "checks": found}, status=200 if ok else 503)


def _check(_: None) -> dict[str, str]:
    try:
        missing = _known_migrations() - _applied_migrations()
    except psycopg.errors.UndefinedTable:
        missing = _known_migrations()
    except psycopg.Error:
        return UNREACHABLE
    return {"database": "ok", "migrations": f"{len(missing)} not applied" if missing else "ok"}


# The probes are open to anyone: one connection at a time, and one a second, per process.
checks = SharedCalls(_check, CHECK_SECONDS)


def _applied_migrations() -> set[tuple[str, str]]:
    with impatient.connect(QUERY_TIMEOUT) as database:
        return {(app, name) for app, name in database.execute("SELECT app, name FROM django_migrations")}


@cache
def _known_migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


PROBES: dict[str, Callable[[], JsonResponse]] = {"/health": ready, "/health/live": live}
