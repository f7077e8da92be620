"""Folds: add rows of the log's tail to the rollups.

docs/exactness.md proves that no row is missed or counted twice.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Literal, NamedTuple

import psycopg
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz.counts import activity
from fizzbuzz.db.faults import LockTimeout, lock_timeout

SETTLE_TIMEOUT_SECONDS = 0.03  # maximum wait for concurrent writers
MIN_PAUSE_SECONDS = 0.01  # between two checks of these writers; doubled after each
MAX_PAUSE_SECONDS = 1.0
FOLD_LOCK_TIMEOUT_SECONDS = 0.03  # maximum wait for each lock
DISTRIBUTED_LOCK_TIMEOUT_SECONDS = 0.2  # maximum time that a fold blocks the writers of a distributed log
MAX_ROWS_PER_FOLD = 50_000  # about half a second if they are all different
MAX_SAMPLED_IDS = 1_000  # looked up to measure the tail

# A prepared transaction has no pid, and its virtualtransaction changed when it was prepared: always include those.
_WRITERS = """
    SELECT COALESCE(array_agg(virtualtransaction), '{}')
    FROM pg_locks
    WHERE relation = 'fizzbuzz_submission'::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IS DISTINCT FROM pg_backend_pid()
    AND (%(among)s::text[] IS NULL OR virtualtransaction = ANY(%(among)s) OR pid IS NULL)
"""

# TRUNCATE gives the log another file, and a failover another server. Ids may be used again after both.
_LOG_IDENTITY = "SELECT format('%s %s', pg_relation_filenode('fizzbuzz_submission'), pg_postmaster_start_time())"
_NEWEST = "SELECT COALESCE(max(id), 0) FROM fizzbuzz_submission"
_IS_DISTRIBUTED = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'fizzbuzz_submission'::regclass)"
_TAIL = """
    SELECT COALESCE((SELECT through FROM fizzbuzz_watermark), 0), last_value FROM fizzbuzz_submission_id_seq
"""
_COUNT_IDS = "SELECT count(*) FROM fizzbuzz_submission WHERE id = ANY(%s::bigint[])"
_MAKE_WATERMARK = """
    INSERT INTO fizzbuzz_watermark (id, through, folded_at) VALUES (1, 0, now()) ON CONFLICT DO NOTHING
"""
_LOCK_WATERMARK = "SELECT through FROM fizzbuzz_watermark FOR UPDATE "

# One batch of rows for both rollups. Older releases beside this one also read minutes_through.
_FOLD = """
    WITH batch AS (
        SELECT id, number, created_at FROM fizzbuzz_submission
        WHERE id > %(through)s AND id <= %(newest)s ORDER BY id LIMIT %(max_rows)s
    ), rolled_up AS (
        INSERT INTO fizzbuzz_numbercount AS rolled_up (number, count)
        SELECT number, count(*) FROM batch GROUP BY number ORDER BY number
        ON CONFLICT (number) DO UPDATE SET count = rolled_up.count + EXCLUDED.count
    ), minutes AS (
        INSERT INTO fizzbuzz_minutecount AS minutes (minute, {columns})
        SELECT minute, {columns} FROM ({minutes}) AS minutes_of_batch ORDER BY minute
        ON CONFLICT (minute) DO UPDATE SET {sums}
    ), newest AS (
        SELECT COALESCE(max(id), %(through)s) AS id, count(*) AS rows FROM batch
    )
    UPDATE fizzbuzz_watermark SET through = newest.id, minutes_through = newest.id, folded_at = now() FROM newest
    RETURNING newest.rows
""".format(  # noqa: S608 - built from constants
    columns=activity.each_column(),
    minutes=activity.counts_of("SELECT number, created_at FROM batch"),
    sums=activity.each_column("{column} = minutes.{column} + EXCLUDED.{column}"),
)


class FoldLimit(NamedTuple):
    """An id at or below which no row can become visible any more, in the log of this identity."""

    newest: int
    log_identity: str


def find_fold_limit(
    timeout_seconds: float = SETTLE_TIMEOUT_SECONDS, before_pause: Callable[[], object] = lambda: None
) -> FoldLimit | None:
    """Return the newest id, once the transactions that may commit rows below it have ended. None after the timeout.

    An INSERT locks the table before it takes an id from the sequence. So each transaction with an id below the newest
    one still holds the lock when pg_locks is read, or has ended. The newest id must therefore be read first. It must
    be of a committed row, because the sequence itself may go back after a crash. It stays valid however long the wait.
    """
    deadline, pause = monotonic() + timeout_seconds, MIN_PAUSE_SECONDS
    with connection.cursor() as cursor:
        log_identity = _value(cursor, _LOG_IDENTITY)  # before the id, which may be of the log before a TRUNCATE
        newest = _value(cursor, _NEWEST)
        writers = _value(cursor, _WRITERS, {"among": None})
    while not _have_ended(writers):
        if monotonic() > deadline:
            return None
        before_pause()
        sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)
    return FoldLimit(newest, log_identity)


def is_distributed() -> bool:
    """Return whether the log is distributed over the workers of a Citus cluster."""
    with connection.cursor() as cursor:
        has_citus = _value(cursor, "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL")
        return bool(has_citus and _value(cursor, _IS_DISTRIBUTED))


def _have_ended(writers: list[str]) -> bool:
    """Return whether these transactions have ended.

    Citus has no distributed snapshot: rows may become visible after their writer has left pg_locks. So on a distributed
    log, wait for a lock that all writers hold. New writers wait in the meantime, so it is released at once.
    """
    if not is_distributed():
        with connection.cursor() as cursor:
            return not (writers and _value(cursor, _WRITERS, {"among": writers}))
    try:
        with short_lock_waits(DISTRIBUTED_LOCK_TIMEOUT_SECONDS) as cursor:
            cursor.execute("LOCK TABLE fizzbuzz_submission IN SHARE MODE")
    except LockTimeout:  # or a deadlock with a writer, for which Citus canceled this
        return False
    return True


def fold_to(limit: FoldLimit, max_rows: int) -> int | None:
    """Add up to `max_rows` rows of the tail to the rollups, up to the limit; return how many.

    Return None if skipped, which is normal: another process folds, a table is locked, or the log was emptied or
    replaced since the limit was found.
    """
    try:
        with short_lock_waits() as cursor:
            # No wait for a synchronous standby: it gets the fold after the rows that it counts, if at all.
            cursor.execute("SET LOCAL synchronous_commit = local")
            through = lock_watermark(cursor, limit, "SKIP LOCKED")
            if through is None or through >= limit.newest:
                return None if through is None else 0
            return int(_value(cursor, _FOLD, {"through": through, "newest": limit.newest, "max_rows": max_rows}))
    except LockTimeout:
        return None


def fold(timeout_seconds: float = SETTLE_TIMEOUT_SECONDS) -> int | None:
    """Find a limit and fold once, for commands. Return like `fold_to`; None also if no limit was found."""
    limit = find_fold_limit(timeout_seconds)
    return fold_to(limit, MAX_ROWS_PER_FOLD) if limit else None


def tail_rows(cursor: CursorWrapper | psycopg.Cursor[Any]) -> int:
    """Return the number of committed rows above the watermark; if there are many, estimated from a sample of ids.

    Not by max(id), which would read all uncommitted rows of a bulk load. The sample includes the newest id.
    """
    cursor.execute(_TAIL)
    through, last_id = cursor.fetchone() or (0, 0)
    ids = range(through + 1, last_id + 1)
    sample = ids[:: -(len(ids) // MAX_SAMPLED_IDS + 1)]
    return len(ids) * int(_value(cursor, _COUNT_IDS, [list(sample)])) // len(sample) if sample else 0


@contextmanager
def short_lock_waits(seconds: float = FOLD_LOCK_TIMEOUT_SECONDS) -> Iterator[CursorWrapper]:
    """Run a transaction that waits at most so long for each lock. Raise LockTimeout."""
    with transaction.atomic(durable=True), connection.cursor() as cursor, lock_timeout(cursor, seconds):
        yield cursor


def lock_watermark(cursor: CursorWrapper, limit: FoldLimit, wait_policy: Literal["", "SKIP LOCKED"] = "") -> int | None:
    """Lock and return the watermark until the transaction ends, so that the log is not emptied either.

    Return None if it is locked elsewhere and not waited for, or if the limit is of another log.
    """
    cursor.execute("LOCK TABLE fizzbuzz_submission IN ACCESS SHARE MODE")  # which TRUNCATE waits for
    if _value(cursor, _LOG_IDENTITY) != limit.log_identity:
        return None
    cursor.execute(_MAKE_WATERMARK)
    return _value(cursor, _LOCK_WATERMARK + wait_policy)


def _value(cursor: CursorWrapper | psycopg.Cursor[Any], statement: str, params: Any = None) -> Any:
    """Return the value that the statement selects. None if it selects no row."""
    cursor.execute(statement, params)
    return (cursor.fetchone() or [None])[0]
