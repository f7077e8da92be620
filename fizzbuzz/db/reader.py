"""Single statements that read, without Django's own work per statement, which doubles the CPU time."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connections

from fizzbuzz.db import outage, pool


def rows(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that only reads. Raises Django's DatabaseError.

    In a web worker, the statement is prepared, and runs on a connection for reads, in its own transaction.
    """
    wrapper: Any = connections["default"]  # fizzbuzz.db's
    if not settings.IN_WEB_WORKER:
        with wrapper.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()
    with wrapper.wrap_database_errors:
        taken = pool.reads().getconn()
        try:
            found = taken.prepared.execute(statement, parameters).fetchall()
        finally:
            pool.reads().putconn(taken)
    outage.end("reads")
    return found
