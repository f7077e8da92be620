"""Submissions by minute and kind, in SQL: what the fold, the check and the reader of the minutes share."""

from __future__ import annotations

from fizzbuzz import rules
from fizzbuzz.models import kind_in_sql

# The kind that each column of MinuteCount counts.
COLUMNS = {
    "fizz": rules.Kind.FIZZ,
    "buzz": rules.Kind.BUZZ,
    "fizzbuzz": rules.Kind.FIZZBUZZ,
    "number": rules.Kind.NUMBER,
}

# Joined to rows of these columns: a row of kind and count for each.
BY_KIND = "CROSS JOIN LATERAL (VALUES {}) AS by_kind (kind, count)".format(
    ", ".join(f"('{kind}', {column})" for column, kind in COLUMNS.items())
)

_COUNTED = """
    SELECT minute, {counts} FROM (
        SELECT date_trunc('minute', created_at, 'UTC') AS minute, {kind} AS kind FROM ({rows}) AS submission
    ) AS explained
    GROUP BY minute
"""


def counted(rows: str) -> str:
    """The minutes of these rows, each with its number and created_at; the columns as MinuteCount's."""
    counts = (f"count(*) FILTER (WHERE kind = '{kind}') AS {column}" for column, kind in COLUMNS.items())
    return _COUNTED.format(counts=", ".join(counts), kind=kind_in_sql("number"), rows=rows)
