"""The one way in: numbers become rows of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from django.db import connection, transaction

from fizzbuzz import metrics
from fizzbuzz.models import Submission

_INSERT = """
    INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[])
    RETURNING id, number, created_at
"""


def record(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """The submissions of these numbers, in their order, once they are committed; all or none.

    Inside a transaction of the caller's they are committed, and counted in the metrics, with it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(numbers)])
        rows = cursor.fetchall()
    transaction.on_commit(lambda: metrics.count_submissions(numbers, channel))
    # RETURNING promises no order. Rows of the same number can't be told apart, so any of them will do.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(rows, reverse=True):
        by_number[number].append(Submission(id=id_, number=number, created_at=created_at))
    return [by_number[number].pop() for number in numbers]
