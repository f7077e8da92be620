"""Version endpoint."""

from __future__ import annotations

import platform

import django
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from core.shared_calls import SharedCalls

STARTED_AT = timezone.now()
MAX_AGE_SECONDS = 60  # of the server's version, which changes only when the server restarts


def _read_server_version(_: None) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


# /info is open to anyone: one statement a minute, per process.
server_version = SharedCalls(_read_server_version, MAX_AGE_SECONDS)


@require_safe
def info(request: HttpRequest) -> JsonResponse:
    """Versions of the service and its main dependencies; `started_at` is the start of the worker process."""
    return JsonResponse(
        {
            "name": "fizzbuzz",
            "version": settings.VERSION,
            "revision": settings.REVISION,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": f"PostgreSQL {server_version(None)}",
            "started_at": STARTED_AT.isoformat(),
        }
    )
