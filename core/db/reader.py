"""Single statements that read, without what Django does around each: it takes twice the CPU time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections

from core.db import pool, statements
from core.db.deadline import DeadlineConnection


def rows(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that only reads. Raises Django's DatabaseError.

    It is prepared, and runs on a connection of the pool in a transaction of its own. Without a pool, it runs on
    Django's connection; also where Django holds one of the pool, since a request that waits for a second one could
    wait for others that do the same.
    """
    django: Any = connections["default"]  # core.db's
    if django.connection is not None or not django.pool:
        with django.cursor() as cursor:
            cursor.execute(statement, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
    with django.wrap_database_errors:
        return _read(django.pool, statement, parameters)


def _read(connection_pool: Any, statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    holds_slot = pool.acquire_read_slot()
    try:
        connection_pool.open()
        taken: DeadlineConnection = pool.replaced_if_lost(connection_pool, connection_pool.getconn())
        try:
            with statements.counted():
                return taken.prepared.execute(statement, parameters).fetchall()
        finally:
            connection_pool.putconn(taken)
    finally:
        if holds_slot:
            pool.release_read_slot()
