"""Connections for those who must answer soon, whatever the database does."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from django.db import connection
from psycopg.abc import PQGen

T = TypeVar("T")

CONNECT_TIMEOUT = 2  # seconds; libpq waits no less


class ImpatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """Gives up on this side: a server that hangs can't run its own statement_timeout."""

    seconds = 10.0  # that each step may take

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, timeout or self.seconds)


def connect(seconds: float) -> ImpatientConnection:
    """One beside the pool, which may be exhausted or wait for a dead server. Each step takes `seconds` at most.

    Raises psycopg.Error.
    """
    params = connection.get_connection_params() | {"connect_timeout": CONNECT_TIMEOUT}
    impatient = ImpatientConnection.connect(**params, autocommit=True)
    impatient.seconds = seconds
    return impatient
