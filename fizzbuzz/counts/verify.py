"""Verify the rollups against the log, and repair them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz import rules
from fizzbuzz.counts import folding, minutes
from fizzbuzz.counts.folding import Watermarks

NUMBER_RANGES = 20  # processed one by one, so that memory is bounded and progress is visible

_ROWS_PER_RANGE = "SELECT COALESCE(max(id), 0) / %(ranges)s + 1 FROM fizzbuzz_submission"
_RANGE_END = "SELECT number FROM fizzbuzz_submission WHERE number >= %(low)s ORDER BY number OFFSET %(rows)s LIMIT 1"

_NUMBERS = """
    WITH counted AS (
        SELECT number, count(*) AS count FROM fizzbuzz_submission
        WHERE number BETWEEN %(low)s AND %(high)s AND id <= %(through)s GROUP BY number
    ), rolled_up AS (
        SELECT number, count FROM fizzbuzz_numbercount WHERE number BETWEEN %(low)s AND %(high)s
    ), difference AS (
        SELECT number, COALESCE(counted.count, 0) AS counted, COALESCE(rolled_up.count, 0) AS rolled_up
        FROM counted FULL JOIN rolled_up USING (number)
        WHERE counted.count IS DISTINCT FROM rolled_up.count
    )
"""
_LIST_NUMBERS = "SELECT number::text, counted, rolled_up FROM difference ORDER BY number"
_REPAIR_NUMBERS = """
    , removed AS (
        DELETE FROM fizzbuzz_numbercount WHERE number IN (SELECT number FROM difference WHERE counted = 0)
    ), repaired AS (
        INSERT INTO fizzbuzz_numbercount (number, count) SELECT number, counted FROM difference WHERE counted > 0
        ON CONFLICT (number) DO UPDATE SET count = EXCLUDED.count
    )
    SELECT count(*) FROM difference
"""

# Both sides as rows of minute, kind and count; see minutes.BY_KIND.
_MINUTES = """
    WITH counted AS ({counted}), difference AS (
        SELECT minute, kind, COALESCE(counted.count, 0) AS counted, COALESCE(rolled_up.count, 0) AS rolled_up
        FROM (SELECT minute, kind, count FROM counted {by_kind}) AS counted
        FULL JOIN (SELECT minute, kind, count FROM fizzbuzz_minutecount {by_kind}) AS rolled_up USING (minute, kind)
        WHERE counted.count IS DISTINCT FROM rolled_up.count
    )
""".format(  # noqa: S608 - built from constants
    counted=minutes.counted("SELECT number, created_at FROM fizzbuzz_submission WHERE id <= %(minutes_through)s"),
    by_kind=minutes.BY_KIND,
)
_LIST_MINUTES = """
    SELECT to_char(minute AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC, "') || kind, counted, rolled_up
    FROM difference ORDER BY minute, kind
"""
_REPAIR_MINUTES = """
    , removed AS (
        DELETE FROM fizzbuzz_minutecount
        WHERE minute IN (SELECT minute FROM difference) AND minute NOT IN (SELECT minute FROM counted)
    ), repaired AS (
        INSERT INTO fizzbuzz_minutecount (minute, fizz, buzz, fizzbuzz, number)
        SELECT minute, fizz, buzz, fizzbuzz, number FROM counted WHERE minute IN (SELECT minute FROM difference)
        ON CONFLICT (minute) DO UPDATE SET
            fizz = EXCLUDED.fizz, buzz = EXCLUDED.buzz, fizzbuzz = EXCLUDED.fizzbuzz, number = EXCLUDED.number
    )
    SELECT count(*) FROM difference
"""


_WATERMARKS = """
    SELECT COALESCE(max(through), 0), COALESCE(max(minutes_through), 0) FROM fizzbuzz_watermark
"""
_SET_WATERMARKS = """
    UPDATE fizzbuzz_watermark SET through = %(through)s, minutes_through = %(minutes_through)s, folded_at = now()
"""


class Difference(NamedTuple):
    """A count in a rollup that differs from the log."""

    what: str  # a number, or a minute and a kind
    counted: int
    rolled_up: int


ProgressCallback = Callable[[float], None]
"""Called with the share that is done, from 0 to 1."""


def ignore_progress(share: float) -> None:
    pass


def verify(progress: ProgressCallback = ignore_progress) -> list[Difference]:
    """Compare the rollups with the log up to the watermarks, in one snapshot."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(_WATERMARKS)
        watermarks = Watermarks(*cursor.fetchone())
        rows = _rows(cursor, _NUMBERS + _LIST_NUMBERS, _MINUTES + _LIST_MINUTES, watermarks, progress)
        return [Difference(*row) for row in rows]


def rebuild(progress: ProgressCallback = ignore_progress) -> int:
    """Recount the log and repair the rollups; return how many counts were wrong.

    Readers and writers are not blocked; folds wait until the end, when all repairs are committed at once.
    """
    # Outside of the transaction, which would keep the lock that this takes on a distributed log.
    settled = folding.wait_for_settled_id()
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        watermarks = folding.lock_watermark(cursor) or Watermarks(0, 0)
        cursor.execute("SELECT COALESCE(max(id), 0) FROM fizzbuzz_submission")
        (highest,) = cursor.fetchone()
        if settled is not None:  # replace the watermark of a rollup that was never folded, or whose log was emptied
            watermarks = Watermarks(*(through if 0 < through <= highest else settled for through in watermarks))
        rows = _rows(cursor, _NUMBERS + _REPAIR_NUMBERS, _MINUTES + _REPAIR_MINUTES, watermarks, progress)
        repaired: int = sum(count for (count,) in rows)
        cursor.execute(_SET_WATERMARKS, watermarks._asdict())
    return repaired


def _rows(
    cursor: CursorWrapper, of_numbers: str, of_minutes: str, watermarks: Watermarks, progress: ProgressCallback
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of both statements. The first one runs for each range of numbers.

    The ranges cover about equally many rows of the log.
    """
    cursor.execute(_ROWS_PER_RANGE, {"ranges": NUMBER_RANGES})
    (rows,) = cursor.fetchone()
    low = rules.SMALLEST
    for done in itertools.count(1):
        cursor.execute(_RANGE_END, {"low": low, "rows": rows})
        (high,) = cursor.fetchone() or (rules.LARGEST,)
        cursor.execute(of_numbers, {"low": low, "high": high, "through": watermarks.through})
        yield from cursor.fetchall()
        progress(min(done, NUMBER_RANGES) / (NUMBER_RANGES + 1))  # the minutes are the last step
        if high == rules.LARGEST:
            break
        low = high + 1
    cursor.execute(of_minutes, {"minutes_through": watermarks.minutes_through})
    yield from cursor.fetchall()
    progress(1)
