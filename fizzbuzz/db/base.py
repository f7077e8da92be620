"""Database backend: django-prometheus' for PostgreSQL, with the embedded server, statement timeouts and read slots."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import psycopg
from django.conf import settings
from django_prometheus.db.backends.postgresql import base

from fizzbuzz.db import pool
from fizzbuzz.db.deadline import DeadlineConnection


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # django-prometheus has no types
    # Two of Django's private methods are overridden: _configure_connection runs once per pooled connection (the
    # signal connection_created would run once per request), and _close is where a connection returns to the pool.

    _read_slot = ExitStack()  # closing an empty one has no effect

    def get_connection_params(self) -> dict[str, Any]:
        """Return psycopg's parameters. Start the embedded server first, if it is used and does not run.

        Workers leave the start to gunicorn's master, so that none of them hangs in it.
        """
        params: dict[str, Any] = super().get_connection_params()
        if server := settings.EMBEDDED:
            params["host"] = server.host if settings.IN_WEB_WORKER else server.acquire()
        return params

    def _configure_connection(self, connection: psycopg.Connection) -> bool:
        """Also set a statement timeout on pooled connections, which serve requests. Commands have none.

        Behind PgBouncer, other clients would inherit the setting: there its query_timeout applies (pgbouncer.ini).
        """
        changed: bool = super()._configure_connection(connection)
        if isinstance(connection, DeadlineConnection) and not settings.TRANSACTION_POOLING:
            connection.set_statement_timeout(local=False)
        return changed

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection:
        """Take a read slot first if the request is a read, so that some connections stay free for writes."""
        if self.pool and pool.acquire_read_slot():
            self._read_slot = ExitStack()
            self._read_slot.callback(pool.release_read_slot)
        try:
            connection: Any = super().get_new_connection(conn_params)
            if self.pool:
                connection = pool.verified(self.pool, connection)
        except BaseException:
            self._read_slot.close()
            raise
        return connection  # type: ignore[no-any-return]  # Django has no types for pools

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._read_slot.close()
