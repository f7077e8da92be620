"""Facts about one number: its count, its rank, and the times of its first and last submission."""

from datetime import datetime
from typing import NamedTuple

from fizzbuzz.counts.ranking import MAX_RANK, require_short_tail
from fizzbuzz.db import pool
from fizzbuzz.models import WithKind

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


class _Facts(NamedTuple):
    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which has no use here
    rank: int | None  # 1 to MAX_RANK; None for less common numbers
    first: datetime | None  # None if it was never submitted, or its rows were deleted by SQL
    last: datetime | None


class NumberFacts(_Facts, WithKind):
    """Facts about one number, submitted or not."""


def facts_of(number: int) -> NumberFacts:
    """Return the facts about a number, submitted or not. Raise CatchingUp."""
    require_short_tail()
    ((count, rank, *times),) = pool.read(_FACTS, {"number": number, "max_rank": MAX_RANK})
    # Rows may get their ids in another order than their times.
    first, last = sorted(times) if all(times) else (None, None)
    return NumberFacts(number, count, rank if rank and rank <= MAX_RANK else None, first, last)
