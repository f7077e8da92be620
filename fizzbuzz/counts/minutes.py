"""SQL to count submissions by minute and kind, shared by the fold, the verification and the reads."""

from fizzbuzz import rules
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
