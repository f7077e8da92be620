"""SQL to count submissions by minute and kind, shared by the fold, the verification and the reads."""

from __future__ import annotations

from fizzbuzz import rules
from fizzbuzz.models import kind_in_sql

# The columns of MinuteCount, and the kind that each one counts.
COLUMNS = {
    "fizz": rules.Kind.FIZZ,
    "buzz": rules.Kind.BUZZ,
    "fizzbuzz": rules.Kind.FIZZBUZZ,
    "number": rules.Kind.NUMBER,
}

# Join that unpivots these columns into rows of kind and count.
BY_KIND = "CROSS JOIN LATERAL (VALUES {}) AS by_kind (kind, count)".format(
    ", ".join(f"('{kind}', {column})" for column, kind in COLUMNS.items())
)

_COUNTED = """
    SELECT minute, {counts} FROM (
        SELECT date_trunc('minute', created_at, 'UTC') AS minute, {kind} AS kind FROM ({rows}) AS submission
    ) AS with_kind
    GROUP BY minute
"""


def counted(rows: str) -> str:
    """Return a query in the columns of MinuteCount over `rows`, a query of number and created_at."""
    counts = (f"count(*) FILTER (WHERE kind = '{kind}') AS {column}" for column, kind in COLUMNS.items())
    return _COUNTED.format(counts=", ".join(counts), kind=kind_in_sql("number"), rows=rows)
