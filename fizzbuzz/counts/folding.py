"""Folds: add rows of the log's tail to the rollups.

docs/exactness.md proves that no row is missed or counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, NamedTuple

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz.counts import minutes
from fizzbuzz.db.locks import LockTimeout, lock_timeout

SETTLE_TIMEOUT_SECONDS = 0.03  # maximum wait for concurrent writers
FOLD_LOCK_TIMEOUT_SECONDS = 0.03  # maximum wait for each lock
DISTRIBUTED_LOCK_TIMEOUT_SECONDS = 0.2  # maximum time that a fold blocks the writers of a distributed log
MAX_ROWS_PER_FOLD = 50_000  # about half a second if they are all different

# A prepared transaction has no pid, and its virtualtransaction changed when it was prepared: always include those.
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

# One batch of rows for both rollups. Their watermarks differ only after folds by a release without MinuteCount.
_FOLD = """
    WITH batch AS (
        SELECT id, number, created_at FROM fizzbuzz_submission
        WHERE id > LEAST(%(through)s, %(minutes_through)s) AND id <= %(newest)s ORDER BY id LIMIT %(max_rows)s
    ), rolled_up AS (
        INSERT INTO fizzbuzz_numbercount AS rolled_up (number, count)
        SELECT number, count(*) FROM batch WHERE id > %(through)s GROUP BY number ORDER BY number
        ON CONFLICT (number) DO UPDATE SET count = rolled_up.count + EXCLUDED.count
    ), minutes AS (
        INSERT INTO fizzbuzz_minutecount AS minutes (minute, fizz, buzz, fizzbuzz, number)
        SELECT minute, fizz, buzz, fizzbuzz, number FROM ({minutes}) AS counted ORDER BY minute
        ON CONFLICT (minute) DO UPDATE SET
            fizz = minutes.fizz + EXCLUDED.fizz, buzz = minutes.buzz + EXCLUDED.buzz,
            fizzbuzz = minutes.fizzbuzz + EXCLUDED.fizzbuzz, number = minutes.number + EXCLUDED.number
    )
    UPDATE fizzbuzz_watermark SET
        through = GREATEST(through, (SELECT max(id) FROM batch)),
        minutes_through = GREATEST(minutes_through, (SELECT max(id) FROM batch)),
        folded_at = now()
    RETURNING (SELECT count(*) FROM batch)
""".format(  # noqa: S608 - built from constants
    minutes=minutes.counted("SELECT number, created_at FROM batch WHERE id > %(minutes_through)s")
)


class LogReplaced(Exception):
    """Known ids are gone: the log was emptied or restored, or another server took over."""


class FoldLimit(NamedTuple):
    """An id up to which the log can be folded once these transactions have ended."""

    newest: int
    writers: list[str]
    server_started_at: datetime


class Watermarks(NamedTuple):
    """The id up to which each rollup covers the log."""

    through: int
    minutes_through: int


def find_fold_limit() -> FoldLimit:
    """Return the newest id and the transactions that may still commit rows below it; see `is_settled`.

    An INSERT locks the table before it takes an id from the sequence. So each transaction with an id below the newest
    one still holds the lock when pg_locks is read, or has ended. The newest id must therefore be read first.
    """
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
        return FoldLimit(newest, _writers(cursor), server_started_at)


def is_settled(limit: FoldLimit) -> bool:
    """Return whether no row at or below the limit can still become visible.

    The limit may be arbitrarily old. Raise LogReplaced.
    """
    distributed = is_distributed()
    if distributed and not _writers_have_finished():
        return False
    if not distributed and not limit.writers:
        return True
    with connection.cursor() as cursor:
        writers = [] if distributed else _writers(cursor, among=limit.writers)
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
    # After a failover or TRUNCATE, ids may be used again by transactions that are not in `writers`.
    if newest < limit.newest or server_started_at != limit.server_started_at:
        raise LogReplaced
    return not writers


def is_distributed() -> bool:
    """Return whether the log is distributed over the workers of a Citus cluster."""
    with connection.cursor() as cursor:
        return bool(_value(cursor, _HAS_CITUS) and _value(cursor, _IS_DISTRIBUTED))


def _writers_have_finished() -> bool:
    """Wait for every transaction that writes to a distributed log now; return whether that took no longer than allowed.

    Citus has no distributed snapshot: rows may become visible after their writer has left pg_locks. New writers wait in
    the meantime, so the lock is released at once.
    """
    try:
        with _short_lock_waits(DISTRIBUTED_LOCK_TIMEOUT_SECONDS) as cursor:
            cursor.execute(_WAIT_FOR_WRITERS)
    except LockTimeout:
        return False
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
            return False  # with a writer; Citus canceled this
        raise
    return True


def wait_for_settled_id() -> int | None:
    """Return an id such that no row at or below it can still become visible; None if a writer exceeds the timeout."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    limit = find_fold_limit()
    while not is_settled(limit):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)
    return limit.newest


def fold() -> int | None:
    """Add up to MAX_ROWS_PER_FOLD rows of the tail to the rollups; return how many.

    Return None if skipped, which is normal: another process folds, or a writer or a lock delays the fold.
    """
    newest = wait_for_settled_id()
    return None if newest is None else fold_settled(newest)


def fold_settled(newest: int) -> int | None:
    """Like `fold`, up to an id that is settled."""
    try:
        with _short_lock_waits() as cursor:
            watermarks = lock_watermark(cursor, "SKIP LOCKED")
            if watermarks is None:
                return None
            if newest <= min(watermarks):
                return 0
            params = {**watermarks._asdict(), "newest": newest, "max_rows": MAX_ROWS_PER_FOLD}
            return int(_value(cursor, _FOLD, params))
    except LockTimeout:
        return None


def tail_length() -> int | None:
    """Return the number of ids above the watermark, including gaps; None if a lock could not be acquired in time."""
    try:
        with _short_lock_waits() as cursor:
            return int(_value(cursor, _TAIL_LENGTH))
    except LockTimeout:
        return None


def _writers(cursor: CursorWrapper, among: list[str] | None = None) -> list[str]:
    """Return the transactions that currently write to the log, except this one."""
    writers: list[str] = _value(cursor, _WRITERS, {"among": among})
    return writers


@contextmanager
def _short_lock_waits(seconds: float = FOLD_LOCK_TIMEOUT_SECONDS) -> Iterator[CursorWrapper]:
    """Run a transaction that waits at most so long for each lock. Raise LockTimeout."""
    with transaction.atomic(durable=True), connection.cursor() as cursor, lock_timeout(cursor, seconds):
        yield cursor


def lock_watermark(cursor: CursorWrapper, wait_policy: Literal["", "SKIP LOCKED"] = "") -> Watermarks | None:
    """Lock and return the watermarks until the transaction ends; None if locked elsewhere and not waited for."""
    cursor.execute(_MAKE_WATERMARK)
    cursor.execute(_LOCK_WATERMARK + wait_policy)
    row: tuple[int, int] | None = cursor.fetchone()
    return Watermarks(*row) if row else None


def _value(cursor: CursorWrapper, statement: str, params: dict[str, Any] | None = None) -> Any:
    cursor.execute(statement, params)
    (value,) = cursor.fetchone()
    return value
