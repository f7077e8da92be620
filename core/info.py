"""Version endpoint."""

from __future__ import annotations

import platform

import django
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

STARTED_AT = timezone.now()


@require_safe
def info(request: HttpRequest) -> JsonResponse:
    """Return the versions of the service and its main dependencies, and when this worker process started."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (database,) = cursor.fetchone()
    return JsonResponse(
        {
            "name": "fizzbuzz",
            "version": settings.VERSION,
            "revision": settings.REVISION,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": f"PostgreSQL {database}",
            "started_at": STARTED_AT.isoformat(),
        }
    )
