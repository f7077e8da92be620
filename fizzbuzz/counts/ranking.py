"""The most common numbers, and the count of one number. Both are always exact: the rollup plus the tail.

docs/exactness.md has the proof.
"""

import logging

from django.db import DatabaseError

from fizzbuzz.db import pool
from fizzbuzz.db.faults import is_worker_unreachable
from fizzbuzz.models import NumberWithCount

log = logging.getLogger(__name__)

MAX_TAIL_ROWS = 200_000  # counted per read in a web worker
MAX_RANK = 100  # ranks shown to users
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


class StaleTop(list[NumberWithCount]):
    """The most common numbers as of the last fold. The tail is missing, because a Citus worker is unreachable."""


class CatchingUp(Exception):
    """The tail is too long to be counted in time. Folds are shortening it."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"The counts are catching up with the log: {rows:,} rows remain.")


# Rows of the tail when this process's FoldScheduler last measured it. Zero where none runs: reads in management
# commands have no limit.
known_tail_rows = 0


def note_tail(rows: int) -> None:
    """Set the length of the tail, for `require_short_tail`."""
    global known_tail_rows  # noqa: PLW0603 - one per process
    known_tail_rows = rows


def require_room() -> None:
    """Raise CatchingUp if the tail is so long that a batch must wait: writers wait before readers do."""
    if known_tail_rows > MAX_TAIL_ROWS // 2:
        raise CatchingUp(known_tail_rows)


def require_short_tail() -> None:
    """Raise CatchingUp if a read would have to count more than MAX_TAIL_ROWS."""
    if known_tail_rows > MAX_TAIL_ROWS:
        raise CatchingUp(known_tail_rows)


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
