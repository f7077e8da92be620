"""Counts per minute and kind, and the activity of a period from them."""

from datetime import datetime, timedelta
from typing import NamedTuple

from fizzbuzz import rules
from fizzbuzz.counts import ranking
from fizzbuzz.db import pool
from fizzbuzz.models import kind_in_sql

# The columns of MinuteCount, and the kind that each one counts. All SQL about them is built from this.
COLUMNS = {
    "fizz": rules.Kind.FIZZ,
    "buzz": rules.Kind.BUZZ,
    "fizzbuzz": rules.Kind.FIZZBUZZ,
    "number": rules.Kind.NUMBER,
}


def each_column(sql: str = "{column}") -> str:
    """Return a list of this SQL for each column, in which {column} and {kind} are replaced."""
    return ", ".join(sql.format(column=column, kind=kind) for column, kind in COLUMNS.items())


# Join that unpivots these columns into rows of kind and count.
BY_KIND = f"""CROSS JOIN LATERAL (VALUES {each_column("('{kind}', {column})")}) AS by_kind (kind, count)"""


def counts_of(rows: str) -> str:
    """Return a query in the columns of MinuteCount over `rows`, a query of number and created_at."""
    return f"""
        SELECT minute, {each_column("count(*) FILTER (WHERE kind = '{kind}') AS {column}")} FROM (
            SELECT date_trunc('minute', created_at, 'UTC') AS minute, {kind_in_sql("number")} AS kind
            FROM ({rows}) AS submission
        ) AS with_kind
        GROUP BY minute
    """  # noqa: S608 - built from constants


class Period(NamedTuple):
    """A number of buckets of the same width, of which the last contains the current time, and the words of its chart.

    The formats are those of Django's `date` template filter.
    """

    buckets: int
    width: timedelta
    name: str
    bucket_name: str
    buckets_per_label: int
    label_format: str
    row_format: str


PERIODS = {
    "hour": Period(60, timedelta(minutes=1), "hour", "minute", 15, "H:i", "H:i"),
    "day": Period(48, timedelta(minutes=30), "day", "half hour", 12, "H:i", "H:i"),
    "week": Period(84, timedelta(hours=2), "week", "two hours", 12, "D", "D H:i"),
    "month": Period(30, timedelta(days=1), "30 days", "day", 6, "j M", "j M"),
}


class Bucket(NamedTuple):
    start: datetime
    counts: dict[rules.Kind, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


# One statement, so one snapshot and one current time. ranking.py explains the inner ORDER BY.
_ACTIVITY = """
    WITH bucket AS (
        SELECT current - index * %(width)s AS start
        FROM date_bin(%(width)s, statement_timestamp(), 'epoch') AS current,
            generate_series(0, %(buckets)s - 1) AS index
    ), kept AS (
        SELECT minute, {columns} FROM fizzbuzz_minutecount WHERE minute >= (SELECT min(start) FROM bucket)
        UNION ALL
        SELECT minute, {columns} FROM ({tail}) AS tail
    ), per_bucket AS (
        SELECT date_bin(%(width)s, minute, 'epoch') AS start, {sums} FROM kept GROUP BY 1
    )
    SELECT start, {or_zero} FROM bucket LEFT JOIN per_bucket USING (start) ORDER BY start
""".format(  # noqa: S608 - built from constants
    columns=each_column(),
    sums=each_column("sum({column}) AS {column}"),
    or_zero=each_column("COALESCE({column}, 0)"),
    tail=counts_of("""
        SELECT number, created_at FROM fizzbuzz_submission
        WHERE id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0) ORDER BY id
    """),
)


def activity(period: str) -> list[Bucket]:
    """Return the buckets of a period (a key of PERIODS), oldest first, including empty ones."""
    ranking.require_short_tail()
    return [
        Bucket(start, dict(zip(COLUMNS.values(), map(int, counts), strict=True)))
        for start, *counts in pool.read(_ACTIVITY, PERIODS[period]._asdict())
    ]
