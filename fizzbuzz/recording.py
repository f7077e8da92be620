"""The one way in: numbers become rows of the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from django.db import connection, transaction

from fizzbuzz import folding, metrics, outcomes
from fizzbuzz.gathering import Gatherer
from fizzbuzz.models import Submission
from fizzbuzz.writer import INSERT, Writer, in_order

SECONDS = 5.0  # that a submission waits at most for its turn


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
            cursor.execute(INSERT.format("%s"), [list(numbers)])
            submissions = in_order(cursor.fetchall(), numbers)
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


writer = Writer()
_gatherer = Gatherer(writer.insert, SECONDS)
