"""Write path: the only module that records submissions."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz import metrics
from fizzbuzz.counts import fold_scheduler
from fizzbuzz.db import faults
from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.models import Submission
from fizzbuzz.submissions.group_commit import GroupCommit
from fizzbuzz.submissions.outcomes import classify_errors, write_transaction

STATEMENT_TIMEOUT_SECONDS = 5.0  # of single numbers
QUEUE_TIMEOUT_SECONDS = 5.0  # maximum wait until a statement takes a single number

_INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[]) RETURNING id, number, created_at"

log = logging.getLogger(__name__)


def _insert_rows(cursor: CursorWrapper | psycopg.Cursor[Any], numbers: Sequence[int]) -> list[Submission]:
    """Insert the numbers in one statement, and return their submissions in the same order."""
    # Passed as text, because psycopg would inspect each number of a list to find the array's type.
    cursor.execute(_INSERT, [f"{{{','.join(map(str, numbers))}}}"])
    # RETURNING guarantees no order. Rows of the same number are interchangeable.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(cursor.fetchall(), reverse=True):
        by_number[number].append(Submission(id_, number, created_at.astimezone(UTC)))
    return [by_number[number].pop() for number in numbers]


class SubmissionInserter:
    """Inserts on a private connection, which is reopened after any error. Not thread-safe.

    While PostgreSQL has not answered a statement that exceeded its deadline, it rejects more: each would leave another
    connection waiting, such as for a synchronous standby, up to max_connections.
    """

    _connection: DeadlineConnection | None = None
    _failed = False

    def run(self, numbers: Sequence[int]) -> list[Submission]:
        """Insert all numbers or none, and return their submissions in the same order once they are committed."""
        try:
            with classify_errors(sent=False):
                connection = self._connect()
            with classify_errors(sent=True):
                return _insert_rows(connection.prepared, numbers)
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


inserter = SubmissionInserter()
_group_commit = GroupCommit(inserter.run, QUEUE_TIMEOUT_SECONDS)


def record_one(number: int, channel: metrics.Channel) -> Submission:
    """Record a number by group commit, and return its submission once it is committed.

    Raise outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    submission = _group_commit.submit(number)
    _after_commit([number], channel)
    return submission


def record_batch(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Record all numbers or none in a transaction, and return their submissions in the same order.

    Raise outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    with write_transaction():
        return record_within(numbers, channel)


def record_within(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Like `record_batch`, but within the caller's write_transaction."""
    with connection.cursor() as cursor:
        submissions = _insert_rows(cursor, numbers)
    transaction.on_commit(lambda: _after_commit(numbers, channel))
    return submissions


def load(numbers: Iterable[int]) -> None:
    """Append numbers by COPY, within the caller's transaction; the caller folds. All must fit into memory.

    They are not counted in the metrics, which are not exported from a command.
    """
    statement = "COPY fizzbuzz_submission (number) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write("".join(f"{number}\n" for number in numbers))


def _after_commit(numbers: Sequence[int], channel: metrics.Channel) -> None:
    """Trigger folds and count the rows. They are recorded: this must neither fail nor delay the response."""
    faults.end_outage("writes")
    try:
        fold_scheduler.scheduler.recorded(len(numbers))
        metrics.count_submissions(numbers, channel)
    except Exception:
        log.exception("%s submissions were recorded, but could not be counted in the metrics", len(numbers))
