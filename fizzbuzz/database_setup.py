"""Checks of the database at `migrate`; check (also for /health) and repair of the log's id sequence."""

import logging
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import CommandError
from django.db import connection

from fizzbuzz.counts.folding import short_lock_waits
from fizzbuzz.db.faults import LockTimeout

SEQUENCE = "fizzbuzz_submission_id_seq"
SEQUENCE_LOCK_TIMEOUT_SECONDS = 5.0

OUT_OF_ORDER = "out of order: run migrate"
BEHIND = "behind the log: run migrate"

# Without a cache, each nextval() returns a higher id than all calls before. max(id) would read all rows of a bulk load
# that is not committed yet.
_STATUS = f"""
    SELECT
        seqcache = 1 AND seqincrement > 0 AND NOT seqcycle,
        EXISTS (SELECT FROM fizzbuzz_submission WHERE id >= next_id)
        OR EXISTS (SELECT FROM fizzbuzz_watermark WHERE through >= next_id)
    FROM pg_sequence, LATERAL (
        SELECT CASE WHEN is_called THEN last_value + seqincrement ELSE last_value END AS next_id FROM {SEQUENCE}
    ) AS next
    WHERE seqrelid = '{SEQUENCE}'::regclass
"""  # noqa: S608 - a constant
_RAISE = f"""
    SELECT setval('{SEQUENCE}', GREATEST(
        (SELECT COALESCE(max(id), 0) FROM fizzbuzz_submission),
        (SELECT COALESCE(max(through), 0) FROM fizzbuzz_watermark)
    ))
"""  # noqa: S608 - a constant

log = logging.getLogger(__name__)


def before_migrate(**more: Any) -> None:
    """Raise CommandError if the database is reached through PgBouncer, which keeps no lock across statements."""
    if settings.TRANSACTION_POOLING:
        raise CommandError(
            "migrate takes locks that PgBouncer does not keep between statements, and nothing was changed. "
            "Run it with TRANSACTION_POOLING unset, and DATABASE_URL naming PostgreSQL itself."
        )


def after_migrate(**more: Any) -> None:
    """Raise the sequence if it is behind, as after a partial restore. Raise CommandError if that fails."""
    if "fizzbuzz_watermark" not in connection.introspection.table_names():  # migrated back to before it existed
        return
    status = sequence_status(connection.connection)
    if status == OUT_OF_ORDER:
        raise CommandError(
            f"The sequence {SEQUENCE} must generate ids in order, or counts would miss rows. Stop the service, run "
            f"ALTER SEQUENCE {SEQUENCE} INCREMENT 1 CACHE 1 NO CYCLE in the database, and run migrate again."
        )
    if status != BEHIND:
        return
    try:
        with short_lock_waits(SEQUENCE_LOCK_TIMEOUT_SECONDS) as cursor:
            # Block inserts until this commits, or setval could move the sequence back.
            cursor.execute("LOCK TABLE fizzbuzz_submission IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(_RAISE)
            (highest_id,) = cursor.fetchone()
    except LockTimeout as error:
        raise CommandError(
            f"The sequence {SEQUENCE} is behind the log, and could not be raised within "
            f"{SEQUENCE_LOCK_TIMEOUT_SECONDS:g} s: another transaction holds a lock on fizzbuzz_submission. End it "
            "(see pg_stat_activity), and run migrate again."
        ) from error
    log.warning(
        "The sequence %s was behind the log, and was raised to %s. Rows recorded in between may not be counted: run "
        "top_numbers --verify, and --rebuild if counts differ.",
        SEQUENCE,
        highest_id,
    )


def sequence_status(database: psycopg.Connection[Any]) -> str:
    """Return "ok", or what is wrong with the sequence: then inserts fail, or their rows are never counted."""
    ((in_order, behind),) = database.execute(_STATUS)
    return BEHIND if in_order and behind else "ok" if in_order else OUT_OF_ORDER
