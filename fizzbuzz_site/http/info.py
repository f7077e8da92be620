"""Version endpoint."""

import platform

import django
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

WORKER_STARTED_AT = timezone.now()


@csrf_exempt  # it changes nothing, so an unsafe method gets 405, not 403
@require_safe
def info(request: HttpRequest) -> JsonResponse:
    """Return the versions of the service and its main dependencies, and when this worker process started."""
    connection.ensure_connection()  # the server sends its version with each, so this needs no statement
    return JsonResponse(
        {
            "name": "fizzbuzz",
            "version": settings.VERSION,
            "revision": settings.REVISION,
            "python": platform.python_version(),
            "django": django.get_version(),
            "database": f"PostgreSQL {connection.connection.info.parameter_status('server_version')}",
            "started_at": WORKER_STARTED_AT.isoformat(),
        }
    )
