"""The exact counts: rollups of the log up to a watermark, and the tail above it.

docs/exactness.md says why they are exact.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz import differences, minutes
from fizzbuzz.differences import Difference, Progress, silent
from fizzbuzz.models import NumberWithCount

SETTLE_TIMEOUT_SECONDS = 0.03  # that `settle` waits for writers
LOCK_TIMEOUT_SECONDS = 0.03  # that a fold waits for each lock
MAX_ROWS_PER_FOLD = 50_000  # about half a second if they are all different
MAX_TAIL_ROWS = 200_000  # that a read of a served process adds up
PLACES = 100  # that are told

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

# A prepared transaction has no pid, and lost the name that we may have known it by.
_WRITERS = """
    SELECT COALESCE(array_agg(virtualtransaction), '{}')
    FROM pg_locks
    WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IS DISTINCT FROM pg_backend_pid()
    AND (%(among)s::text[] IS NULL OR virtualtransaction = ANY(%(among)s) OR pid IS NULL)
"""

_NEWEST = "SELECT COALESCE(max(id), 0), pg_postmaster_start_time() FROM fizzbuzz_submission"
_TAIL_LENGTH = """
    SELECT COALESCE((SELECT max(id) FROM fizzbuzz_submission), 0) - COALESCE(max(LEAST(through, minutes_through)), 0)
    FROM fizzbuzz_watermark
"""
_MAKE_WATERMARK = """
    INSERT INTO fizzbuzz_watermark (id, through, folded_at) VALUES (1, 0, now()) ON CONFLICT DO NOTHING
"""
_LOCK_WATERMARK = "SELECT through, minutes_through FROM fizzbuzz_watermark FOR UPDATE "

# One piece for both rollups, which differ in how far they are only where older code has folded.
_FOLD = """
    WITH piece AS (
        SELECT id, number, created_at FROM fizzbuzz_submission
        WHERE id > LEAST(%(through)s, %(minutes_through)s) AND id <= %(newest)s ORDER BY id LIMIT %(most)s
    ), rolled_up AS (
        INSERT INTO fizzbuzz_numbercount AS rolled_up (number, count)
        SELECT number, count(*) FROM piece WHERE id > %(through)s GROUP BY number ORDER BY number
        ON CONFLICT (number) DO UPDATE SET count = rolled_up.count + EXCLUDED.count
    ), minutes AS (
        INSERT INTO fizzbuzz_minutecount AS minutes (minute, fizz, buzz, fizzbuzz, number)
        SELECT minute, fizz, buzz, fizzbuzz, number FROM ({minutes}) AS counted ORDER BY minute
        ON CONFLICT (minute) DO UPDATE SET
            fizz = minutes.fizz + EXCLUDED.fizz, buzz = minutes.buzz + EXCLUDED.buzz,
            fizzbuzz = minutes.fizzbuzz + EXCLUDED.fizzbuzz, number = minutes.number + EXCLUDED.number
    )
    UPDATE fizzbuzz_watermark SET
        through = GREATEST(through, (SELECT max(id) FROM piece)),
        minutes_through = GREATEST(minutes_through, (SELECT max(id) FROM piece)),
        folded_at = now()
    RETURNING (SELECT count(*) FROM piece)
""".format(  # noqa: S608 - with SQL of our own
    minutes=minutes.counted("SELECT number, created_at FROM piece WHERE id > %(minutes_through)s")
)

_WATERMARKS = """
    SELECT COALESCE(max(through), 0), COALESCE(max(minutes_through), 0) FROM fizzbuzz_watermark
"""
_SET_WATERMARKS = """
    UPDATE fizzbuzz_watermark SET through = %(through)s, minutes_through = %(minutes_through)s, folded_at = now()
"""


class CatchingUp(Exception):
    """The tail is too long to be added up in time; the folds shorten it."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"The counts are catching up with the log: {rows:,} rows are left.")


class LogReplaced(Exception):
    """Ids that were seen are gone: the log was emptied or restored, or another server took over."""


class FoldLimit(NamedTuple):
    """An id up to which all can be folded, once these transactions are over."""

    newest: int
    writers: list[str]
    server_started_at: datetime


class Watermarks(NamedTuple):
    """How far each rollup is."""

    through: int
    minutes_through: int


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
        count: int = _value(cursor, _COUNT_OF, {"number": number})
    return count


def find_fold_limit() -> FoldLimit:
    """Return the newest id, and the transactions that may still add rows below it: see `is_settled`.

    An INSERT locks the table before it draws an id. So every transaction that drew one below the newest holds the lock
    when we look, or is done: the newest id must be read before.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
        return FoldLimit(newest, _writers(cursor), server_started_at)


def is_settled(limit: FoldLimit) -> bool:
    """Whether every row up to the limit is visible by now or never will be.

    It may be asked however much later. Raises LogReplaced.
    """
    if not limit.writers:
        return True
    with connection.cursor() as cursor:
        writers = _writers(cursor, among=limit.writers)
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
    # After a failover or TRUNCATE ids may be drawn again, by transactions that we have not seen.
    if newest < limit.newest or server_started_at != limit.server_started_at:
        raise LogReplaced
    return not writers


def settle(timeout_seconds: float = SETTLE_TIMEOUT_SECONDS) -> int | None:
    """Return an id such that no row at or below it can still become visible; None if a writer stays for too long."""
    deadline = time.monotonic() + timeout_seconds
    limit = find_fold_limit()
    while not is_settled(limit):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
    return limit.newest


def fold() -> int | None:
    """Move a piece of the tail into the rollup; return how many rows.

    None: skipped, for another process folds, or a writer or a lock is in the way. That is normal.
    """
    newest = settle()
    return None if newest is None else fold_settled(newest)


def fold_settled(newest: int) -> int | None:
    """As `fold`, up to an id that is settled."""
    try:
        with _short_lock_waits() as cursor:
            watermarks = _hold_watermark(cursor, "SKIP LOCKED")
            if watermarks is None:
                return None
            if newest <= min(watermarks):
                return 0
            rows: int = _value(cursor, _FOLD, {**watermarks._asdict(), "newest": newest, "most": MAX_ROWS_PER_FOLD})
            return rows
    except _Locked:
        return None


def tail_length() -> int | None:
    """Return how many ids lie above the watermark, gaps included; None while a lock is in the way."""
    try:
        with _short_lock_waits() as cursor:
            rows: int = _value(cursor, _TAIL_LENGTH)
            return rows
    except _Locked:
        return None


def verify(progress: Progress = silent) -> list[Difference]:
    """Compares the rollups with the log, up to the watermark, in one snapshot."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(_WATERMARKS)
        through, minutes_through = cursor.fetchone()
        return differences.find(cursor, through, minutes_through, progress)


def rebuild(progress: Progress = silent) -> int:
    """Counts the log anew and mends the rollups; says how many counts were wrong.

    Readers and writers go on; nobody folds meanwhile. All of it takes effect at once, at the end.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")  # settle looks more than once
        watermarks = _hold_watermark(cursor) or Watermarks(0, 0)
        newest = settle()
        if newest is not None:  # a rollup that was never folded, or whose log was emptied
            watermarks = Watermarks(*(through if 0 < through <= newest else newest for through in watermarks))
        mended = differences.mend(cursor, *watermarks, progress)
        cursor.execute(_SET_WATERMARKS, watermarks._asdict())
    return mended


def _writers(cursor: CursorWrapper, among: list[str] | None = None) -> list[str]:
    """The transactions that write to the log now, other than our own."""
    writers: list[str] = _value(cursor, _WRITERS, {"among": among})
    return writers


class _Locked(Exception):
    pass


@contextmanager
def _short_lock_waits() -> Iterator[CursorWrapper]:
    """A transaction that waits LOCK_TIMEOUT_SECONDS for each lock. Raises _Locked."""
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_SECONDS * 1000:.0f}ms"])
            yield cursor
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise _Locked from error
        raise


def _hold_watermark(cursor: CursorWrapper, unless: str = "") -> Watermarks | None:
    """The watermark, which stays ours until the transaction ends; None `unless` it can be had."""
    cursor.execute(_MAKE_WATERMARK)
    cursor.execute(_LOCK_WATERMARK + unless)
    row: tuple[int, int] | None = cursor.fetchone()
    return Watermarks(*row) if row else None


def _value(cursor: CursorWrapper, statement: str, params: dict[str, Any] | None = None) -> Any:
    cursor.execute(statement, params)
    (value,) = cursor.fetchone()
    return value
