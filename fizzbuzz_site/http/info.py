"""Version endpoint."""

from __future__ import annotations

import platform

import django
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from fizzbuzz.shared_calls import SharedCalls

WORKER_STARTED_AT = timezone.now()
MAX_VERSION_AGE_SECONDS = 60  # it only changes when the database server restarts


def _read_server_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


# Anyone can call /info, so a process runs one statement per minute at most.
server_version = SharedCalls(_read_server_version, MAX_VERSION_AGE_SECONDS)


@csrf_exempt  # it changes nothing, so an unsafe method gets 405, not 403
@require_safe
def info(request: HttpRequest) -> JsonResponse:
    """Return the versions of the service and its main dependencies, and when this worker process started."""
    return JsonResponse(
        {
            "name": "fizzbuzz",
            "version": settings.VERSION,
            "revision": settings.REVISION,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": f"PostgreSQL {server_version()}",
            "started_at": WORKER_STARTED_AT.isoformat(),
        }
    )
