"""The INSERT statement for submissions, and the connection on which each process inserts single ones."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db.backends.utils import CursorWrapper

from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.models import Submission
from fizzbuzz.submissions import outcomes

STATEMENT_TIMEOUT_SECONDS = 5.0

_INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[]) RETURNING id, number, created_at"


def insert_rows(cursor: CursorWrapper | psycopg.Cursor[Any], numbers: Sequence[int]) -> list[Submission]:
    """Insert the numbers in one statement, and return their submissions in the same order."""
    # Passed as text, because psycopg would inspect each number of a list to find the array's type.
    cursor.execute(_INSERT, [f"{{{','.join(map(str, numbers))}}}"])
    rows: list[tuple[int, int, datetime]] = cursor.fetchall()
    # RETURNING guarantees no order. Rows of the same number are interchangeable.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(rows, reverse=True):
        by_number[number].append(Submission(id_, number, created_at.astimezone(UTC)))
    return [by_number[number].pop() for number in numbers]


class SubmissionInserter:
    """Inserts on a private connection, which is reopened after any error. Not thread-safe.

    While PostgreSQL has not answered a statement that exceeded its deadline, more are refused: each would leave another
    connection waiting, such as for a synchronous standby, up to max_connections.
    """

    _connection: DeadlineConnection | None = None
    _failed = False

    def run(self, numbers: Sequence[int]) -> list[Submission]:
        """Insert all numbers or none, and return their submissions in the same order once they are committed."""
        try:
            with outcomes.not_recorded_on_error():
                connection = self._connect()
            with outcomes.classify_write_error():
                return insert_rows(connection.prepared, numbers)
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection, self._failed = None, False

    def _connect(self) -> DeadlineConnection:
        if self._connection and (self._failed or self._connection.is_lost()):
            if self._connection.is_waiting:
                raise psycopg.OperationalError("PostgreSQL has not answered the last statement yet")
            self.close()
        if not self._connection:
            self._connection = connect_with_deadline(STATEMENT_TIMEOUT_SECONDS, autocommit=True)
        return self._connection
