"""The most common numbers of a time range, counted from the log within a time limit."""

from datetime import datetime

import psycopg

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.db.deadline import STATEMENT_TIMEOUT_SHARE, connect_with_deadline
from fizzbuzz.models import NumberWithCount, Submission, sql_of

TIME_RANGE_TIMEOUT_SECONDS = 5
counting = Bulkhead("time ranges are being counted", limit=1, wait_seconds=1)


class TimeRangeTooWide(Exception):
    def __init__(self) -> None:
        super().__init__(
            f"Counting this time range takes longer than {TIME_RANGE_TIMEOUT_SECONDS} s. Choose a narrower one."
        )


def top(limit: int, since: datetime | None = None, until: datetime | None = None) -> list[NumberWithCount]:
    """Like `ranking.top`, for since <= created_at < until. Raise TimeRangeTooWide, Busy or psycopg.Error.

    This uses a private connection, so that it cannot exhaust the pool.
    """
    query = sql_of(Submission.objects.between(since, until).counted()[:limit])
    deadline = TIME_RANGE_TIMEOUT_SECONDS / STATEMENT_TIMEOUT_SHARE
    try:
        with counting.slot(), connect_with_deadline(deadline) as database:
            return [NumberWithCount(*row) for row in database.execute(*query)]
    except psycopg.errors.QueryCanceled as error:
        raise TimeRangeTooWide from error
