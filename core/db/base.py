"""Django's PostgreSQL backend, counted by django-prometheus; knows where the embedded server is."""

from __future__ import annotations

from typing import Any

import psycopg
from django.conf import settings
from django_prometheus.db.backends.postgresql import base

from core.db import pool
from core.db.deadline import DeadlineConnection


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # django-prometheus has no types
    _holds_read_slot = False

    def get_connection_params(self) -> dict[str, Any]:
        """As Django's, but starts or joins the embedded server first, if that is the one.

        Workers leave that to gunicorn's master: each looks at the database, and none may hang in a start.
        """
        params: dict[str, Any] = super().get_connection_params()
        if server := settings.EMBEDDED:
            params["host"] = server.host if settings.SERVED_AT else server.join()
        return params

    def _configure_connection(self, connection: psycopg.Connection) -> bool:
        """As Django's; also bounds the statements of the pool, which serves requests. Commands have no bound.

        Behind PgBouncer, other clients would inherit the setting: there the role has it (docs/deployment.md).
        """
        changed: bool = super()._configure_connection(connection)
        if isinstance(connection, DeadlineConnection) and not settings.TRANSACTION_POOLING:
            connection.set_statement_timeout(local=False)
        return changed

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection:
        """As Django's; a read takes a slot first, so that some of the pool stays for writes."""
        self._holds_read_slot = bool(self.pool) and pool.acquire_read_slot()
        try:
            connection: psycopg.Connection = super().get_new_connection(conn_params)
        except BaseException:
            self._release_read_slot()
            raise
        return connection

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._release_read_slot()

    def _release_read_slot(self) -> None:
        if self._holds_read_slot:
            self._holds_read_slot = False
            pool.release_read_slot()
