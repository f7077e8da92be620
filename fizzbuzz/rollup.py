"""The exact counts: a rollup of the log up to a watermark, and the tail above it.

docs/exactness.md says why they are exact.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz import rules
from fizzbuzz.models import NumberWithCount

PATIENCE = 0.03  # seconds that a fold waits for writers, and for each lock
MOST_ROWS = 2_000  # that one fold takes: some tens of milliseconds if they are all different
SLICES = 20  # in which verify and rebuild go through the numbers

# One statement, so one snapshot: between two a fold could move rows from the tail into the rollup.
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
    )
    SELECT number, max(count) AS count
    FROM (
        (SELECT number, count FROM fizzbuzz_numbercount ORDER BY count DESC, number LIMIT %(limit)s)
        UNION ALL
        SELECT number, tail.count + COALESCE(
            (SELECT rolled_up.count FROM fizzbuzz_numbercount AS rolled_up WHERE rolled_up.number = tail.number), 0
        ) FROM tail
    ) AS candidates
    GROUP BY number ORDER BY count DESC, number LIMIT %(limit)s
"""

_COUNT_OF = """
    SELECT COALESCE((SELECT count FROM fizzbuzz_numbercount WHERE number = %(number)s), 0) + (
        SELECT count(*) FROM fizzbuzz_submission
        WHERE number = %(number)s AND id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0)
    )
"""

# A prepared transaction has no pid, and lost the name that we may have known it by.
_WRITERS = """
    SELECT COALESCE(array_agg(virtualtransaction), '{}')
    FROM pg_locks
    WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IS DISTINCT FROM pg_backend_pid()
    AND (%(among)s::text[] IS NULL OR virtualtransaction = ANY(%(among)s) OR pid IS NULL)
"""

_NEWEST = "SELECT COALESCE(max(id), 0) FROM fizzbuzz_submission"
_MAKE_WATERMARK = """
    INSERT INTO fizzbuzz_watermark (id, through, folded_at) VALUES (1, 0, now()) ON CONFLICT DO NOTHING
"""
_LOCK_WATERMARK = "SELECT through FROM fizzbuzz_watermark FOR UPDATE "

_FOLD = """
    WITH piece AS (
        SELECT id, number FROM fizzbuzz_submission
        WHERE id > %(through)s AND id <= %(newest)s ORDER BY id LIMIT %(most)s
    ), rolled_up AS (
        INSERT INTO fizzbuzz_numbercount AS rolled_up (number, count)
        SELECT number, count(*) FROM piece GROUP BY number ORDER BY number
        ON CONFLICT (number) DO UPDATE SET count = rolled_up.count + EXCLUDED.count
    )
    UPDATE fizzbuzz_watermark SET through = (SELECT max(id) FROM piece), folded_at = now()
    RETURNING (SELECT count(*) FROM piece)
"""

_SLICE_END = "SELECT number FROM fizzbuzz_submission WHERE number >= %(low)s ORDER BY number OFFSET %(rows)s LIMIT 1"

_DIFFERENCES = """
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
_LIST = "SELECT number, counted, rolled_up FROM difference ORDER BY number"
_MEND = """
    , removed AS (
        DELETE FROM fizzbuzz_numbercount WHERE number IN (SELECT number FROM difference WHERE counted = 0)
    ), mended AS (
        INSERT INTO fizzbuzz_numbercount (number, count) SELECT number, counted FROM difference WHERE counted > 0
        ON CONFLICT (number) DO UPDATE SET count = EXCLUDED.count
    )
    SELECT count(*) FROM difference
"""


class Difference(NamedTuple):
    """A number whose count in the rollup is not what the log says."""

    number: int
    counted: int
    rolled_up: int


Progress = Callable[[float], None]
"""Is told the share that is done, from 0 to 1."""


def _silent(share: float) -> None:
    pass


def top(limit: int) -> list[NumberWithCount]:
    """The `limit` most common numbers; of equally common ones the smaller comes first."""
    # A number in neither half is beaten by the `limit` of the first.
    with connection.cursor() as cursor:
        cursor.execute(_TOP, {"limit": limit})
        return [NumberWithCount(*row) for row in cursor.fetchall()]


def count_of(number: int) -> int:
    with connection.cursor() as cursor:
        count: int = _value(cursor, _COUNT_OF, {"number": number})
    return count


def settle(patience: float = PATIENCE) -> int | None:
    """An id up to which every row is visible by now or never will be; None if a writer is at it for too long.

    An INSERT locks the table before it draws an id. So whoever drew one below `newest` holds the lock
    when we look, or is done: `newest` must be read before.
    """
    deadline = time.monotonic() + patience
    with connection.cursor() as cursor:
        newest: int = _value(cursor, _NEWEST)
        writers = _writers(cursor)
        while writers:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.001)
            writers = _writers(cursor, among=writers)
    return newest


def fold() -> int | None:
    """Moves a piece of the tail into the rollup; says how many rows.

    None: skipped, for another process folds, or a writer or a lock is in the way. That is normal.
    """
    newest = settle()
    return None if newest is None else fold_settled(newest)


def fold_settled(newest: int) -> int | None:
    """As `fold`, up to an id that `settle` gave, however long ago."""
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{PATIENCE * 1000:.0f}ms"])
            through = _hold_watermark(cursor, "SKIP LOCKED")
            if through is None:
                return None
            if newest <= through:
                return 0
            rows: int = _value(cursor, _FOLD, {"through": through, "newest": newest, "most": MOST_ROWS})
            return rows
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            return None
        raise


def verify(progress: Progress = _silent) -> list[Difference]:
    """Compares the rollup with the log, up to the watermark, in one snapshot."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        through: int = _value(cursor, "SELECT COALESCE((SELECT through FROM fizzbuzz_watermark), 0)")
        return [Difference(*row) for row in _by_slices(cursor, _DIFFERENCES + _LIST, through, progress)]


def rebuild(progress: Progress = _silent) -> int:
    """Counts the log anew and mends the rollup; says how many numbers were wrong.

    Readers and writers go on; nobody folds meanwhile. All of it takes effect at once, at the end.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # settle looks more than once
        through = _hold_watermark(cursor) or 0
        newest = settle()
        if newest is not None and (not through or through > newest):  # never folded, or the log was emptied
            through = newest
        mended = sum(count for (count,) in _by_slices(cursor, _DIFFERENCES + _MEND, through, progress))
        cursor.execute("UPDATE fizzbuzz_watermark SET through = %s, folded_at = now()", [through])
    return mended


def _writers(cursor: CursorWrapper, among: list[str] | None = None) -> list[str]:
    """The transactions that write to the log now, other than our own."""
    writers: list[str] = _value(cursor, _WRITERS, {"among": among})
    return writers


def _hold_watermark(cursor: CursorWrapper, unless: str = "") -> int | None:
    """The watermark, which stays ours until the transaction ends; None `unless` it can be had."""
    cursor.execute(_MAKE_WATERMARK)
    cursor.execute(_LOCK_WATERMARK + unless)
    row: tuple[int] | None = cursor.fetchone()
    return row[0] if row else None


def _value(cursor: CursorWrapper, statement: str, params: dict[str, Any] | None = None) -> Any:
    cursor.execute(statement, params)
    (value,) = cursor.fetchone()
    return value


def _by_slices(cursor: CursorWrapper, statement: str, through: int, progress: Progress) -> Iterator[tuple[int, ...]]:
    """The statement's rows for one range of numbers after another, each about as many rows of the log."""
    rows = _value(cursor, _NEWEST) // SLICES + 1
    low = rules.SMALLEST
    for done in itertools.count(1):
        cursor.execute(_SLICE_END, {"low": low, "rows": rows})
        (high,) = cursor.fetchone() or (rules.LARGEST,)
        cursor.execute(statement, {"low": low, "high": high, "through": through})
        yield from cursor.fetchall()
        progress(1 if high == rules.LARGEST else min(0.99, done / SLICES))
        if high == rules.LARGEST:
            return
        low = high + 1
