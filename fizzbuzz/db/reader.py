"""Single statements that read, without Django's own work per statement, which doubles the CPU time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections

from fizzbuzz.db import pool, statements
from fizzbuzz.db.deadline import DeadlineConnection


def rows(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that only reads. Raises Django's DatabaseError.

    The statement is prepared, and runs on a pooled connection in its own transaction. It runs on Django's connection
    if there is no pool, or if Django already holds a pooled one: requests that each wait for a second connection could
    block each other.
    """
    django: Any = connections["default"]  # fizzbuzz.db's
    if django.connection is not None or not django.pool:
        with django.cursor() as cursor:
            cursor.execute(statement, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
    with django.wrap_database_errors:
        holds_slot = pool.acquire_read_slot()
        try:
            django.pool.open()
            taken: DeadlineConnection = django.pool.getconn()
            while taken.is_lost():  # the pool's own check takes a round trip
                django.pool.putconn(taken)
                taken = django.pool.getconn()
            try:
                with statements.counted():
                    return taken.prepared.execute(statement, parameters).fetchall()
            finally:
                django.pool.putconn(taken)
        finally:
            if holds_slot:
                pool.release_read_slot()
