"""The most common numbers of a time window: counted from the log, within a time limit."""

from __future__ import annotations

from datetime import datetime

import psycopg
from django.db import OperationalError, connection, transaction

from fizzbuzz.models import NumberWithCount, Submission

SECONDS = 5  # that counting a window may take


class WindowTooWide(Exception):
    def __init__(self) -> None:
        super().__init__(f"Counting this window takes longer than the limit of {SECONDS} s: choose a narrower one.")


def top(limit: int, since: datetime | None = None, until: datetime | None = None) -> list[NumberWithCount]:
    """As `rollup.top`, of the submissions from `since` on and before `until`. Raises WindowTooWide."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{SECONDS}s"])
            return Submission.objects.between(since, until).most_common(limit)
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise WindowTooWide from error
        raise
