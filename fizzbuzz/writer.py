"""The connection that inserts for all who wait, and its one statement as libpq takes it.

psycopg's cursor, made for every statement there is, took two thirds of the CPU time of this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from struct import Struct

import psycopg
from django.db import connection
from django_prometheus.db import errors_total, execute_total, query_duration_seconds
from django_prometheus.db.common import ExceptionCounterByType
from psycopg import generators, pq

from fizzbuzz import outcomes
from fizzbuzz.models import Submission
from fizzbuzz_site.postgresql import impatient
from fizzbuzz_site.postgresql.impatient import ImpatientConnection

SECONDS = 5.0  # that a statement waits at most for the database

INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest({}::bigint[]) RETURNING id, number, created_at"
Row = tuple[int, int, datetime]

_NAME = b"submissions"
_STATEMENT = INSERT.format("$1").encode()
_BINARY = Struct("!qqq")  # id, number, and created_at as microseconds since
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

# Counted as Django's statements are.
_labels = {"alias": connection.alias, "vendor": connection.vendor}
_executed = execute_total.labels(**_labels)
_duration = query_duration_seconds.labels(**_labels)
_errors = ExceptionCounterByType(errors_total, extra_labels=_labels)


class Writer:
    """Used by one at a time; the connection is opened anew after any fault."""

    _connection: ImpatientConnection | None = None

    def insert(self, numbers: Sequence[int]) -> list[Submission]:
        """The submissions of these numbers, in their order, once they are committed; all or none."""
        try:
            with outcomes.before_it_is_sent():
                database = self._ready()
            with outcomes.after_it_was_sent(), _duration.time(), _errors:
                _executed.inc()
                return in_order(_insert(database, numbers), numbers)
        except BaseException:
            self.close()  # what it was at is unknown
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _ready(self) -> ImpatientConnection:
        if self._connection:
            # No round trip: a server that went away can be heard, first its last words and then the end.
            with suppress(psycopg.OperationalError):
                self._connection.pgconn.consume_input()
                self._connection.pgconn.consume_input()
            if self._connection.closed:
                self.close()
        if not self._connection:
            self._connection = impatient.connect(SECONDS)
            self._connection.pgconn.send_prepare(_NAME, _STATEMENT)
            _answer(self._connection, pq.ExecStatus.COMMAND_OK)
        return self._connection


def in_order(rows: Iterable[Row], numbers: Sequence[int]) -> list[Submission]:
    """A submission for each of these numbers, of the rows that they became."""
    # RETURNING promises no order. Rows of the same number can't be told apart, so any of them will do.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(rows, reverse=True):
        by_number[number].append(Submission(id=id_, number=number, created_at=created_at))
    return [by_number[number].pop() for number in numbers]


def _insert(database: ImpatientConnection, numbers: Sequence[int]) -> list[Row]:
    array = f"{{{','.join(map(str, numbers))}}}".encode()
    database.pgconn.send_query_prepared(_NAME, [array], result_format=pq.Format.BINARY)
    result = _answer(database, pq.ExecStatus.TUPLES_OK)
    rows = []
    for row in range(result.ntuples):
        id_, number, microseconds = _BINARY.unpack(
            b"".join(result.get_value(row, column) or b"" for column in range(3))
        )
        rows.append((id_, number, _EPOCH + timedelta(microseconds=microseconds)))
    return rows


def _answer(database: ImpatientConnection, expected: pq.ExecStatus) -> pq.abc.PGresult:
    results: list[pq.abc.PGresult] = database.wait(generators.execute(database.pgconn))
    if not results:
        raise psycopg.OperationalError("the connection ended without an answer")
    if results[0].status != expected:  # the end of a session may come as two
        raise psycopg.errors.error_from_result(results[0])
    return results[0]
