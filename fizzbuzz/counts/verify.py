"""Verify the rollups against the log, and repair them."""

from typing import NamedTuple

from django.db import connection, transaction
from django.db.models.functions import Now

from fizzbuzz.counts import activity, folding
from fizzbuzz.models import Watermark

WRITERS_TIMEOUT_SECONDS = 5.0  # maximum wait of a rebuild for transactions that write to the log

_NUMBERS = """
    WITH counted AS (
        SELECT number, count(*) AS count FROM fizzbuzz_submission WHERE id <= %(through)s GROUP BY number
    ), difference AS (
        SELECT number, COALESCE(counted.count, 0) AS counted, COALESCE(rolled_up.count, 0) AS rolled_up
        FROM counted FULL JOIN fizzbuzz_numbercount AS rolled_up USING (number)
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

# Both sides as rows of minute, kind and count; see activity.BY_KIND.
_MINUTES = """
    WITH counted AS ({counted}), difference AS (
        SELECT minute, kind, COALESCE(counted.count, 0) AS counted, COALESCE(rolled_up.count, 0) AS rolled_up
        FROM (SELECT minute, kind, count FROM counted {by_kind}) AS counted
        FULL JOIN (SELECT minute, kind, count FROM fizzbuzz_minutecount {by_kind}) AS rolled_up USING (minute, kind)
        WHERE counted.count IS DISTINCT FROM rolled_up.count
    )
""".format(  # noqa: S608 - built from constants
    counted=activity.counts_of("SELECT number, created_at FROM fizzbuzz_submission WHERE id <= %(through)s"),
    by_kind=activity.BY_KIND,
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
        INSERT INTO fizzbuzz_minutecount (minute, {columns})
        SELECT minute, {columns} FROM counted WHERE minute IN (SELECT minute FROM difference)
        ON CONFLICT (minute) DO UPDATE SET {new_values}
    )
    SELECT count(*) FROM difference
""".format(  # noqa: S608 - built from constants
    columns=activity.each_column(), new_values=activity.each_column("{column} = EXCLUDED.{column}")
)


class Difference(NamedTuple):
    """A count in a rollup that differs from the log."""

    what: str  # a number, or a minute and a kind
    counted: int
    rolled_up: int


class NotRebuilt(Exception):
    """The log is written or replaced at the moment. Nothing was changed."""


def verify() -> list[Difference]:
    """Compare the rollups with the log up to the watermark, in one snapshot."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        through, differences = _watermark(), []
        for statement in (_NUMBERS + _LIST_NUMBERS, _MINUTES + _LIST_MINUTES):
            cursor.execute(statement, {"through": through})
            differences += [Difference(*row) for row in cursor.fetchall()]
        return differences


def rebuild() -> int:
    """Recount the log and repair the rollups; return how many counts were wrong.

    Readers and writers are not blocked; folds wait until the end, when all repairs are committed at once. Raise
    NotRebuilt.
    """
    earlier = _watermark()
    # Outside of the transaction, which would keep the lock that this takes on a distributed log.
    if not (limit := folding.find_fold_limit(WRITERS_TIMEOUT_SECONDS)):
        raise NotRebuilt(
            f"A transaction that writes to fizzbuzz_submission has been open for more than {WRITERS_TIMEOUT_SECONDS:g} "
            "s. Nothing was changed. Try again after it has ended (see pg_stat_activity)."
        )
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        through = folding.lock_watermark(cursor, limit)
        if through is None:
            raise NotRebuilt("The log was emptied or replaced in the meantime. Nothing was changed. Try again.")
        # If the log was emptied since the last fold, the watermark is of other rows, and perhaps not settled.
        if through == earlier:  # else a fold has moved it to a settled id
            through = min(through or limit.newest, limit.newest)
        repaired = 0
        for statement in (_NUMBERS + _REPAIR_NUMBERS, _MINUTES + _REPAIR_MINUTES):
            cursor.execute(statement, {"through": through})
            repaired += cursor.fetchone()[0]
        Watermark.objects.update(through=through, minutes_through=through, folded_at=Now())
    return repaired


def _watermark() -> int:
    return Watermark.objects.values_list("through", flat=True).first() or 0
