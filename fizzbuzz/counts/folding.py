"""Folds: pieces of the log's tail are added to the rollups.

docs/exactness.md proves that no row is missed or counted twice.
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

from fizzbuzz.counts import minutes

SETTLE_TIMEOUT_SECONDS = 0.03  # that `settle` waits for writers
LOCK_TIMEOUT_SECONDS = 0.03  # that a fold waits for each lock
DISTRIBUTED_LOCK_TIMEOUT_SECONDS = 0.2  # that writers to a distributed log may be held up
MAX_ROWS_PER_FOLD = 50_000  # about half a second if they are all different

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
_HAS_CITUS = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL"
_IS_DISTRIBUTED = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'fizzbuzz_submission'::regclass)"
_WAIT_FOR_WRITERS = "LOCK TABLE fizzbuzz_submission IN SHARE MODE"
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
    with connection.cursor() as cursor:
        if _is_distributed(cursor):
            return _writers_have_finished()
        if not limit.writers:
            return True
        writers = _writers(cursor, among=limit.writers)
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
    # After a failover or TRUNCATE ids may be drawn again, by transactions that we have not seen.
    if newest < limit.newest or server_started_at != limit.server_started_at:
        raise LogReplaced
    return not writers


def _is_distributed(cursor: CursorWrapper) -> bool:
    """Return whether the log is distributed over the workers of a Citus cluster."""
    return bool(_value(cursor, _HAS_CITUS) and _value(cursor, _IS_DISTRIBUTED))


def _writers_have_finished() -> bool:
    """Wait for every transaction that writes to a distributed log now; return whether that took no longer than allowed.

    Citus has no distributed snapshot: rows may become visible after their writer has left pg_locks. New writers wait in
    the meantime, so the lock is released at once.
    """
    try:
        with _short_lock_waits(DISTRIBUTED_LOCK_TIMEOUT_SECONDS) as cursor:
            cursor.execute(_WAIT_FOR_WRITERS)
    except _Locked:
        return False
    return True


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
            watermarks = hold_watermark(cursor, "SKIP LOCKED")
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


def _writers(cursor: CursorWrapper, among: list[str] | None = None) -> list[str]:
    """The transactions that write to the log now, other than our own."""
    writers: list[str] = _value(cursor, _WRITERS, {"among": among})
    return writers


class _Locked(Exception):
    pass


@contextmanager
def _short_lock_waits(seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[CursorWrapper]:
    """A transaction that waits so long for each lock. Raises _Locked."""
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
            yield cursor
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise _Locked from error
        raise


def hold_watermark(cursor: CursorWrapper, unless: str = "") -> Watermarks | None:
    """The watermark, which stays ours until the transaction ends; None `unless` it can be had."""
    cursor.execute(_MAKE_WATERMARK)
    cursor.execute(_LOCK_WATERMARK + unless)
    row: tuple[int, int] | None = cursor.fetchone()
    return Watermarks(*row) if row else None


def _value(cursor: CursorWrapper, statement: str, params: dict[str, Any] | None = None) -> Any:
    cursor.execute(statement, params)
    (value,) = cursor.fetchone()
    return value
