"""The one way in: numbers become rows of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

import psycopg
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django_prometheus.db.common import ExportingCursorWrapper

from fizzbuzz import folding, metrics, outcomes
from fizzbuzz.gathering import Gatherer
from fizzbuzz.models import Submission
from fizzbuzz_site.postgresql import impatient
from fizzbuzz_site.postgresql.impatient import ImpatientConnection

SECONDS = 5.0  # that a submission waits at most for its turn, and its statement for the database

_INSERT = """
    INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[])
    RETURNING id, number, created_at
"""


def record(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """The submissions of these numbers, in their order, once they are committed; all or none.

    Inside a transaction of the caller's they are committed, and counted in the metrics, with it.
    Raises outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    if len(numbers) == 1 and not connection.in_atomic_block:
        submissions = [_gatherer.insert(numbers[0])]
        _committed(numbers, channel)
    else:
        with outcomes.before_it_is_sent():
            connection.ensure_connection()
        fate = outcomes.before_it_is_sent if connection.in_atomic_block else outcomes.after_it_was_sent
        with fate(), connection.cursor() as cursor:
            submissions = _insert(cursor, numbers)
        transaction.on_commit(partial(_committed, numbers, channel), robust=True)
    return submissions


def load(numbers: Iterable[int]) -> None:
    """Appends numbers by COPY, as many as fit into memory; the caller commits, and folds.

    Not counted in the metrics: nobody reads those of a command.
    """
    statement = "COPY fizzbuzz_submission (number) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write("".join(f"{number}\n" for number in numbers))


def _committed(numbers: Sequence[int], channel: metrics.Channel) -> None:
    metrics.count_submissions(numbers, channel)
    folding.recorded(len(numbers))


class _Writer:
    """The connection of whoever leads. It is used by one at a time, and opened anew after any fault."""

    _connection: ImpatientConnection | None = None

    def insert(self, numbers: Sequence[int]) -> list[Submission]:
        try:
            with outcomes.before_it_is_sent():
                database = self._ready()
            with outcomes.after_it_was_sent():
                return _insert(database, numbers)
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
            # Bound and prepared by the server, and counted like Django's.
            cursor = ExportingCursorWrapper(psycopg.Cursor, connection.alias, connection.vendor)
            self._connection.cursor_factory, self._connection.prepare_threshold = cursor, 0
            self._connection.execute("SET TIME ZONE 'UTC'")  # Django reads times as such
        return self._connection


def _insert(database: ImpatientConnection | CursorWrapper, numbers: Sequence[int]) -> list[Submission]:
    rows = database.execute(_INSERT, [list(numbers)]).fetchall()
    # RETURNING promises no order. Rows of the same number can't be told apart, so any of them will do.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(rows, reverse=True):
        by_number[number].append(Submission(id=id_, number=number, created_at=created_at))
    return [by_number[number].pop() for number in numbers]


writer = _Writer()
_gatherer = Gatherer(writer.insert, SECONDS)
