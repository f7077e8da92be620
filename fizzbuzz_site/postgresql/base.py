"""Django's PostgreSQL backend, counted by django-prometheus; knows where the embedded server is."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django_prometheus.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # django-prometheus has no types
    def get_connection_params(self) -> dict[str, Any]:
        """As Django's, but starts or joins the embedded server first, if that is the one.

        Workers leave that to gunicorn's master: each looks at the database, and none may hang in a start.
        """
        params: dict[str, Any] = super().get_connection_params()
        if server := settings.EMBEDDED:
            params["host"] = server.host if settings.SERVED_AT else server.join()
        return params
