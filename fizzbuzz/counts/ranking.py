"""The most common numbers, and the facts about one. They are always exact: the rollup plus the tail.

docs/exactness.md has the proof.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

import psycopg
from django.db import DatabaseError

from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.db import pool
from fizzbuzz.db.deadline import STATEMENT_TIMEOUT_SHARE, connect_with_deadline
from fizzbuzz.db.faults import is_worker_unreachable
from fizzbuzz.models import NumberWithCount, Submission, WithKind, sql_of
from fizzbuzz.shared_calls import SharedCalls

log = logging.getLogger(__name__)

MAX_TAIL_ROWS = 200_000  # counted per read in a web worker
MAX_RANK = 100  # ranks shown to users
TIME_RANGE_TIMEOUT_SECONDS = 5
MAX_NEAR_NUMBERS = 100  # numbers beyond the rolled-up top N that are compared without a lookup of each

# One statement, so one snapshot: between two statements, a fold could move rows from the tail into the rollup.
# A number seen once in the tail can enter the top N only if its rolled-up count is at least (Nth count - 1). These
# numbers are `near`; skip the lookup for all others, unless there are more than MAX_NEAR_NUMBERS.
# The planner does not know how short the tail is: the scalar subquery prevents hashing the whole rollup, and the inner
# ORDER BY a scan of the whole log.
_TOP = """
    WITH tail AS (
        SELECT number, count(*) AS count
        FROM (
            SELECT number FROM fizzbuzz_submission
            WHERE id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0) ORDER BY id
        ) AS rows_of_tail
        GROUP BY number
    ), last AS (
        SELECT COALESCE((
            SELECT count FROM fizzbuzz_numbercount ORDER BY count DESC, number OFFSET %(limit)s - 1 LIMIT 1
        ), 0) AS count
    ), near AS (
        SELECT number, count FROM fizzbuzz_numbercount WHERE count >= (SELECT count FROM last) - 1
        ORDER BY count DESC, number LIMIT %(limit)s + %(max_near)s
    )
    SELECT number, max(count) AS count
    FROM (
        SELECT number, near.count + COALESCE(tail.count, 0) AS count FROM near LEFT JOIN tail USING (number)
        UNION ALL
        SELECT number, tail.count + COALESCE(
            (SELECT rolled_up.count FROM fizzbuzz_numbercount AS rolled_up WHERE rolled_up.number = tail.number), 0
        ) FROM tail
        WHERE tail.count > 1 OR tail.count >= (SELECT count FROM last)
        OR (SELECT count(*) FROM near) = %(limit)s + %(max_near)s
    ) AS candidates
    GROUP BY number ORDER BY count DESC, number LIMIT %(limit)s
"""

_COUNT_OF = """
    SELECT COALESCE((SELECT count FROM fizzbuzz_numbercount WHERE number = %(number)s), 0) + (
        SELECT count(*) FROM fizzbuzz_submission
        WHERE number = %(number)s AND id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0)
    )
"""

_TOP_OF_ROLLUP = "SELECT number, count FROM fizzbuzz_numbercount ORDER BY count DESC, number LIMIT %(limit)s"

# One statement, so one snapshot. The rank is 1 + the number of numbers that rank higher: by their rolled-up count alone
# (`rolled_up`), or only with their rows in the tail (`risen`). The former are read from the index; the latter are not
# computed if MAX_RANK of the former exist. `rolled_up` is two index ranges and not one condition with OR, for which the
# index scan would continue through all numbers with the same count. The planner overestimates the rows: the ORDER BY
# prevents a scan of the whole rollup, and OFFSET 0 a second lookup of each count.
_FACTS = """
    WITH through AS (
        SELECT COALESCE((SELECT through FROM fizzbuzz_watermark), 0) AS id
    ), own AS (
        SELECT COALESCE((SELECT count FROM fizzbuzz_numbercount WHERE number = %(number)s), 0) + (
            SELECT count(*) FROM fizzbuzz_submission
            WHERE number = %(number)s AND id > (SELECT id FROM through)
        ) AS count
    ), rolled_up AS (
        SELECT count(*) AS count FROM (
            (SELECT 1 FROM fizzbuzz_numbercount
            WHERE count > (SELECT count FROM own) ORDER BY count DESC, number LIMIT %(max_rank)s)
            UNION ALL
            (SELECT 1 FROM fizzbuzz_numbercount
            WHERE count = (SELECT count FROM own) AND number < %(number)s
            ORDER BY count DESC, number LIMIT %(max_rank)s)
        ) AS before
    ), tail AS (
        SELECT number, count(*) AS count
        FROM (SELECT number FROM fizzbuzz_submission WHERE id > (SELECT id FROM through) ORDER BY id) AS rows_of_tail
        WHERE number <> %(number)s GROUP BY number
    ), risen AS (
        SELECT count(*) AS count FROM (
            SELECT number, count AS of_tail, COALESCE(
                (SELECT count FROM fizzbuzz_numbercount AS rolled_up WHERE rolled_up.number = tail.number), 0
            ) AS of_rollup
            FROM tail OFFSET 0
        ) AS counted
        WHERE (-of_tail - of_rollup, number) < (-(SELECT count FROM own), %(number)s)
        AND (-of_rollup, number) > (-(SELECT count FROM own), %(number)s)
    )
    SELECT own.count,
        CASE WHEN own.count > 0 AND rolled_up.count < %(max_rank)s
        THEN rolled_up.count + (SELECT count FROM risen) + 1 END,
        (SELECT created_at FROM fizzbuzz_submission WHERE number = %(number)s ORDER BY id LIMIT 1),
        (SELECT created_at FROM fizzbuzz_submission WHERE number = %(number)s ORDER BY id DESC LIMIT 1)
    FROM own, rolled_up
"""

time_ranges = Bulkhead("time ranges are being counted", limit=1, wait_seconds=1)


@dataclass(frozen=True)
class NumberFacts(WithKind):
    """Facts about one number, submitted or not."""

    number: int
    count: int
    rank: int | None  # 1 to MAX_RANK; None for less common numbers
    first: datetime | None  # None if it was never submitted, or its rows were deleted by SQL
    last: datetime | None


class StaleTop(list[NumberWithCount]):
    """The most common numbers as of the last fold. The tail is missing, because a Citus worker is unreachable."""


class CatchingUp(Exception):
    """The tail is too long to be counted in time. Folds are shortening it."""


class TimeRangeTooWide(Exception):
    """Counting the range takes too long."""


# Rows of the tail when this process's FoldScheduler last measured it. Zero where none runs: reads in management
# commands have no limit.
known_tail_rows = 0


def note_tail(rows: int) -> None:
    """Set the length of the tail, for `require_short_tail`."""
    global known_tail_rows  # noqa: PLW0603 - one per process
    known_tail_rows = rows


def require_short_tail(share: float = 1) -> None:
    """Raise CatchingUp if a read would have to count more than MAX_TAIL_ROWS, or than a share of these."""
    if known_tail_rows > share * MAX_TAIL_ROWS:
        raise CatchingUp(f"The counts are catching up with the log: {known_tail_rows:,} rows remain.")


def top(limit: int) -> list[NumberWithCount]:
    """Return the `limit` most common numbers; on a tie the smaller number comes first. Raise CatchingUp."""
    require_short_tail()
    try:
        return [NumberWithCount(*row) for row in pool.read(_TOP, {"limit": limit, "max_near": MAX_NEAR_NUMBERS})]
    except DatabaseError as error:
        if not is_worker_unreachable(error):
            raise
        log.warning("A Citus worker is unreachable. The most common numbers are those of the last fold: %s", error)
        return StaleTop(NumberWithCount(*row) for row in pool.read(_TOP_OF_ROLLUP, {"limit": limit}))


def count_of(number: int) -> int:
    """Return how often a number was submitted. Raise CatchingUp."""
    require_short_tail()
    return int(pool.read(_COUNT_OF, {"number": number})[0][0])


def facts_of(number: int) -> NumberFacts:
    """Return the facts about a number, submitted or not. Raise CatchingUp."""
    require_short_tail()
    ((count, rank, *times),) = pool.read(_FACTS, {"number": number, "max_rank": MAX_RANK})
    # Rows may get their ids in another order than their times.
    first, last = sorted(times) if all(times) else (None, None)
    return NumberFacts(number, count, rank if rank and rank <= MAX_RANK else None, first, last)


def top_between(limit: int, since: datetime | None = None, until: datetime | None = None) -> list[NumberWithCount]:
    """Like `top`, of since <= created_at < until, counted from the log. Raise TimeRangeTooWide, Busy or psycopg.Error.

    This uses a private connection, so that it cannot exhaust the pool.
    """
    query = sql_of(Submission.objects.between(since, until).counted()[:limit])
    deadline = TIME_RANGE_TIMEOUT_SECONDS / STATEMENT_TIMEOUT_SHARE
    try:
        with time_ranges.slot(), connect_with_deadline(deadline) as database:
            return [NumberWithCount(*row) for row in database.execute(*query)]
    except psycopg.errors.QueryCanceled as error:
        message = f"Counting this time range takes longer than {TIME_RANGE_TIMEOUT_SECONDS} s. Choose a narrower one."
        raise TimeRangeTooWide(message) from error


# For requests: concurrent ones share a read that began after they arrived, so it includes every acknowledged write.
shared_top = SharedCalls(top)
shared_count_of = SharedCalls(count_of)
shared_facts_of = SharedCalls(facts_of)
