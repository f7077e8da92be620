"""The most common numbers of a time window: counted from the log, within a time limit."""

from __future__ import annotations

from datetime import datetime

import psycopg
from django.db import connection

from core.bulkhead import Bulkhead
from core.db.deadline import STATEMENT_TIMEOUT_SHARE, connect_with_deadline
from fizzbuzz.models import NumberWithCount, Submission

WINDOW_TIMEOUT_SECONDS = 5
counting = Bulkhead("time windows are being counted", limit=1, wait_seconds=1)


class WindowTooWide(Exception):
    def __init__(self) -> None:
        super().__init__(
            f"Counting this window takes longer than the limit of {WINDOW_TIMEOUT_SECONDS} s: choose a narrower one."
        )


def top(limit: int, since: datetime | None = None, until: datetime | None = None) -> list[NumberWithCount]:
    """As `rollup.top`, of the submissions from `since` on and before `until`. Raises WindowTooWide and Busy.

    On a connection of its own: however many clients ask, the pool stays free for all else.
    """
    query = Submission.objects.between(since, until).counted()[:limit].query
    deadline = WINDOW_TIMEOUT_SECONDS / STATEMENT_TIMEOUT_SHARE
    with counting.slot(), connection.wrap_database_errors:
        try:
            with connect_with_deadline(deadline) as database:
                return [NumberWithCount(*row) for row in database.execute(*query.sql_with_params())]
        except psycopg.errors.QueryCanceled as error:
            raise WindowTooWide from error
