"""What is known of one number: how often it was submitted, its rank, when first and last."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db import connection

from fizzbuzz import rules
from fizzbuzz.counts.ranking import MAX_RANK, require_short_tail

# One statement, so one snapshot. The rank is 1 + how many numbers rank before this one: those that do so by the rollup
# alone, and those that do so only together with their rows in the tail. The first are read off the index, and the
# second are not looked at if there are MAX_RANK of the first. Two ranges instead of one with OR: behind the last that
# ranks before it, a scan of the index would go on through all numbers that are as common. The planner doesn't know how
# few rows they are: ORDER BY keeps it from scanning the whole rollup, and OFFSET 0 from looking up each count twice.
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
            WHERE count > (SELECT count FROM own) ORDER BY count DESC, number LIMIT %(places)s)
            UNION ALL
            (SELECT 1 FROM fizzbuzz_numbercount
            WHERE count = (SELECT count FROM own) AND number < %(number)s ORDER BY count DESC, number LIMIT %(places)s)
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
        CASE WHEN own.count > 0 AND rolled_up.count < %(places)s
        THEN rolled_up.count + (SELECT count FROM risen) + 1 END,
        (SELECT created_at FROM fizzbuzz_submission WHERE number = %(number)s ORDER BY id LIMIT 1),
        (SELECT created_at FROM fizzbuzz_submission WHERE number = %(number)s ORDER BY id DESC LIMIT 1)
    FROM own, rolled_up
"""


class NumberFacts(NamedTuple):
    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which has no use here
    rank: int | None  # among the MAX_RANK most common numbers, from 1; None beyond them
    first: datetime | None  # None if it was never submitted
    last: datetime | None

    @property
    def result(self) -> str:
        return rules.result(self.number)

    @property
    def kind(self) -> rules.Kind:
        return rules.classify(self.number)


def facts_of(number: int) -> NumberFacts:
    require_short_tail()
    with connection.cursor() as cursor:
        cursor.execute(_FACTS, {"number": number, "places": MAX_RANK})
        count, rank, *times = cursor.fetchone()
    # An id is drawn before its row is committed, and two rows' times may be in the other order.
    first, last = sorted(times) if count else (None, None)
    return NumberFacts(number, count, rank if rank and rank <= MAX_RANK else None, first, last)
