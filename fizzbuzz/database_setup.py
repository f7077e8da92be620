"""Database settings applied after every migrate, and the check of the log's id sequence (also for readiness)."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import psycopg
from django.conf import settings
from django.core.management import CommandError
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz.db.locks import LockTimeout, lock_timeout

SEQUENCE = "fizzbuzz_submission_id_seq"
LOCK_TIMEOUT_SECONDS = 5.0

# The planner overestimates the tail as a third of the log, and would use parallel workers and JIT for a few rows.
# Stored on the role, because a connection pooler may ignore startup parameters.
_SET_PLANNER = """
    DO $$
    DECLARE
        role text := format('ALTER ROLE CURRENT_USER IN DATABASE %I ', current_database());
    BEGIN
        EXECUTE role || 'SET max_parallel_workers_per_gather = 0';
        EXECUTE role || 'SET jit = off';
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'could not change the planner settings of this role: %', SQLERRM;
    END $$
"""

_SEQUENCE = f"""
    SELECT
        CASE WHEN is_called THEN last_value + seqincrement ELSE last_value END,
        GREATEST(
            (SELECT COALESCE(max(id), 0) FROM fizzbuzz_submission),
            (SELECT COALESCE(max(through), 0) FROM fizzbuzz_watermark)
        ),
        seqcache = 1 AND seqincrement > 0 AND NOT seqcycle
    FROM {SEQUENCE}, pg_sequence WHERE seqrelid = '{SEQUENCE}'::regclass
"""  # noqa: S608 - a constant

log = logging.getLogger(__name__)


class _Sequence(NamedTuple):
    next_id: int
    highest_id: int  # the maximum of the log's ids and of the watermark
    in_order: bool  # without a cache, each nextval() returns a higher id than all calls before

    @property
    def behind(self) -> bool:
        return self.next_id <= self.highest_id


def before_migrate(**more: Any) -> None:
    """Raise CommandError if the database is reached through PgBouncer, which keeps no lock across statements."""
    if settings.TRANSACTION_POOLING:
        raise CommandError(
            "migrate takes locks that PgBouncer does not keep between statements, and nothing was changed. "
            "Run it with TRANSACTION_POOLING unset, and DATABASE_URL naming PostgreSQL itself."
        )


def after_migrate(using: str, **more: Any) -> None:
    """Apply the role settings and repair the sequence. Raise CommandError if that fails.

    This runs after every migrate and not as a migration, because pg_dump does not include ALTER ROLE ... SET, and a
    partial restore may leave the sequence behind the log.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_SET_PLANNER)
        cursor.execute("SELECT to_regclass('fizzbuzz_watermark') IS NULL")
        if cursor.fetchone()[0]:  # migrated back to before the table existed
            return
        sequence = _read(cursor)
    if not sequence.in_order:
        raise CommandError(
            f"The sequence {SEQUENCE} must generate ids in order, or counts would miss rows. Stop the service, run "
            f"ALTER SEQUENCE {SEQUENCE} INCREMENT 1 CACHE 1 NO CYCLE in the database, and run migrate again."
        )
    if sequence.behind:
        _raise_sequence(using)


def sequence_status(database: psycopg.Connection[tuple[Any, ...]]) -> str:
    """Return "ok", or what is wrong with the sequence: then inserts fail, or their rows are never counted."""
    (sequence,) = map(_Sequence._make, database.execute(_SEQUENCE))
    if not sequence.in_order:
        return "out of order: run migrate"
    return "behind the log: run migrate" if sequence.behind else "ok"


def _raise_sequence(using: str) -> None:
    """Raise the sequence above the log and the watermark; a partial restore leaves it behind."""
    try:
        with (
            transaction.atomic(using),
            connections[using].cursor() as cursor,
            lock_timeout(cursor, LOCK_TIMEOUT_SECONDS),
        ):
            # Block inserts until this commits, or setval could move the sequence back.
            cursor.execute("LOCK TABLE fizzbuzz_submission IN SHARE ROW EXCLUSIVE MODE")
            sequence = _read(cursor)
            if sequence.behind:
                cursor.execute(f"SELECT setval('{SEQUENCE}', %s)", [sequence.highest_id])
    except LockTimeout as error:
        raise CommandError(
            f"The sequence {SEQUENCE} is behind the log, and could not be raised within {LOCK_TIMEOUT_SECONDS:g} s: "
            "another transaction holds a lock on fizzbuzz_submission. End it (see pg_stat_activity), and run migrate "
            "again."
        ) from error
    log.warning(
        "The sequence %s was behind: its next id was %s, and the highest known id is %s. It was raised. Rows recorded "
        "in between may not be counted: run top_numbers --verify, and --rebuild if counts differ.",
        SEQUENCE,
        sequence.next_id,
        sequence.highest_id,
    )


def _read(cursor: CursorWrapper) -> _Sequence:
    cursor.execute(_SEQUENCE)
    return _Sequence(*cursor.fetchone())
