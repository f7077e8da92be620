"""The INSERT statement for submissions, and the connection on which each process inserts single ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Protocol

import psycopg
from django.conf import settings
from django.db import connection
from django_prometheus.db import errors_total, execute_total, query_duration_seconds

from core.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.models import Submission
from fizzbuzz.submissions import outcomes

STATEMENT_TIMEOUT_SECONDS = 5.0

_INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[]) RETURNING id, number, created_at"

# The same metrics as for Django's own statements.
_labels = {"alias": connection.alias, "vendor": connection.vendor}
_executed = execute_total.labels(**_labels)
_duration = query_duration_seconds.labels(**_labels)

log = logging.getLogger(__name__)


class Cursor(Protocol):
    """A cursor of Django or psycopg."""

    def execute(self, query: str, params: Sequence[Any], /) -> Any: ...
    def fetchall(self) -> list[Any]: ...


def insert(cursor: Cursor, numbers: Sequence[int]) -> list[Submission]:
    """Insert the numbers in one statement, and return their submissions in the same order."""
    # Passed as text, because psycopg would inspect each number of a list to find the array's type.
    cursor.execute(_INSERT, [f"{{{','.join(map(str, numbers))}}}"])
    rows: list[tuple[int, int, datetime]] = cursor.fetchall()
    # RETURNING guarantees no order. Rows of the same number are interchangeable.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(rows, reverse=True):
        by_number[number].append(Submission(id=id_, number=number, created_at=created_at.astimezone(UTC)))
    return [by_number[number].pop() for number in numbers]


class SubmissionInserter:
    """Inserts on a private connection, which is reopened after any error. Not thread-safe."""

    _connection: DeadlineConnection | None = None
    _cursor: psycopg.Cursor[Any]

    def insert(self, numbers: Sequence[int]) -> list[Submission]:
        """Insert all numbers or none, and return their submissions in the same order once they are committed."""
        try:
            with outcomes.not_recorded_on_error():
                self._connect()
            started_at = perf_counter()
            with outcomes.classify_write_error():
                submissions = insert(self._cursor, numbers)
        except BaseException as error:
            self.close()  # the connection's state is unknown
            kind = type(error.__cause__ or error).__name__
            _count(lambda: errors_total.labels(type=kind, **_labels).inc())
            raise
        _count(lambda: _duration.observe(perf_counter() - started_at))
        return submissions

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _connect(self) -> DeadlineConnection:
        if self._connection:
            # Detect a closed connection without a round trip: the first read gets the FATAL message, the second EOF.
            with suppress(psycopg.OperationalError):
                self._connection.pgconn.consume_input()
                self._connection.pgconn.consume_input()
            if self._connection.closed:
                self.close()
        if not self._connection:
            self._connection = connect_with_deadline(STATEMENT_TIMEOUT_SECONDS, autocommit=True)
            # PgBouncer may run each statement on another server connection, where it was not prepared.
            self._connection.prepare_threshold = None if settings.TRANSACTION_POOLING else 0
            # Reusing one cursor takes half the CPU time of creating one per statement.
            self._cursor = psycopg.Cursor(self._connection)
            self._cursor.format = psycopg.pq.Format.BINARY
        return self._connection


def _count(count: Callable[[], object]) -> None:
    """Update the metrics. The statement may be committed, so an error here must not fail the request."""
    try:
        _executed.inc()
        count()
    except Exception:
        log.exception("Could not count a statement in the metrics")
