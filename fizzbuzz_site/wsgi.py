"""The WSGI application that gunicorn's workers serve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

from fizzbuzz_site.postgresql.pool import release_connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fizzbuzz_site.settings")

_handler = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request. Its connection goes back to the pool before the body is sent: a slow reader holds none."""
    response = _handler(environ, start_response)
    release_connection()
    return response
