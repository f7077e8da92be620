"""The most common numbers, and the count of one, exact at every moment: the rollup plus the tail.

docs/exactness.md proves it.
"""

from __future__ import annotations

from django.db import connection

from fizzbuzz.models import NumberWithCount

MAX_TAIL_ROWS = 200_000  # that a read of a served process adds up
MAX_RANK = 100  # that are told

NEAR = 100  # numbers of the rollup, beside the first, that may be near enough to be compared at once

# One statement, so one snapshot: between two a fold could move rows from the tail into the rollup.
# Most numbers of a tail are in it once. Of these only those that are near the last of the first can come to stand among
# them: the others' counts need not be looked up one by one, unless too many are near.
# The scalar subquery keeps the planner from hashing the whole rollup, the inner ORDER BY from
# scanning the whole log: it can't know how short the tail is.
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
        ORDER BY count DESC, number LIMIT %(limit)s + %(near)s
    )
    SELECT number, max(count) AS count
    FROM (
        SELECT number, near.count + COALESCE(tail.count, 0) AS count FROM near LEFT JOIN tail USING (number)
        UNION ALL
        SELECT number, tail.count + COALESCE(
            (SELECT rolled_up.count FROM fizzbuzz_numbercount AS rolled_up WHERE rolled_up.number = tail.number), 0
        ) FROM tail
        WHERE tail.count > 1 OR tail.count >= (SELECT count FROM last)
        OR (SELECT count(*) FROM near) = %(limit)s + %(near)s
    ) AS candidates
    GROUP BY number ORDER BY count DESC, number LIMIT %(limit)s
"""

_COUNT_OF = """
    SELECT COALESCE((SELECT count FROM fizzbuzz_numbercount WHERE number = %(number)s), 0) + (
        SELECT count(*) FROM fizzbuzz_submission
        WHERE number = %(number)s AND id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0)
    )
"""


class CatchingUp(Exception):
    """The tail is too long to be added up in time; the folds shorten it."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"The counts are catching up with the log: {rows:,} rows are left.")


# Ids of the tail, as the folds of this process saw them last. Zero where nothing folds in the background, such as in a
# command: its reads may take their time.
known_tail_rows = 0


def require_short_tail() -> None:
    """Raise CatchingUp if a read would have to add up more than MAX_TAIL_ROWS."""
    if known_tail_rows > MAX_TAIL_ROWS:
        raise CatchingUp(known_tail_rows)


def top(limit: int) -> list[NumberWithCount]:
    """The `limit` most common numbers; of equally common ones the smaller comes first."""
    require_short_tail()
    # A number in neither half is beaten by the `limit` of the first.
    with connection.cursor() as cursor:
        cursor.execute(_TOP, {"limit": limit, "near": NEAR})
        return [NumberWithCount(*row) for row in cursor.fetchall()]


def count_of(number: int) -> int:
    require_short_tail()
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_OF, {"number": number})
        count: int = cursor.fetchone()[0]
    return count
