"""Helpers that fill the log, on this connection and others, and compare all counts with it."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from unittest.mock import patch

import psycopg
from django.db import connection, transaction
from django.db.models import Count, F
from django.db.models.functions import TruncMinute

from fizzbuzz import rules
from fizzbuzz.counts import activity, folding, ranking
from fizzbuzz.models import Submission, Watermark

T = TypeVar("T")

INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[])"


def append(*numbers: int) -> None:
    """Insert rows like submissions.record, but without folds."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [list(numbers)])


def replace_log(*numbers: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE fizzbuzz_submission RESTART IDENTITY")
    append(*numbers)


def append_at(time: str, *numbers: int) -> None:
    """Insert rows with this time (ISO 8601) of submission."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_submission (number, created_at) SELECT unnest(%s::bigint[]), %s::timestamptz",
            [list(numbers), time],
        )


@contextmanager
def open_transaction() -> Iterator[psycopg.Connection]:
    """Open another connection, in a transaction that is rolled back unless it is committed."""
    database = psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": psycopg.ClientCursor})
    try:
        yield database
        if not database.closed:
            database.rollback()  # wait for it: after a disconnect, the server keeps the locks for a moment
    finally:
        database.close()


def on_another_connection(function: Callable[[], T]) -> T:
    """Call a function in a thread with its own connection, and return the result."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@contextmanager
def at_statement(index: int | None, action: Callable[[], object]) -> Iterator[None]:
    """Take an action before the n-th statement of this connection, or after each (None). Fails if there are fewer."""
    seen = 0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal seen
        if seen == index:
            action()
        seen += 1
        result = execute(*arguments)
        if index is None:
            action()
        return result

    with connection.execute_wrapper(count):
        yield
    assert seen > (index or 0)


@contextmanager
def at_pause(index: int, action: Callable[[], object]) -> Iterator[list[float]]:
    """Take an action at the n-th pause between two looks for writers, instead of sleeping. Yield the pauses."""

    def pause(seconds: float) -> None:
        assert connection.connection is None  # other requests may need it
        pauses.append(seconds)
        assert len(pauses) <= index
        if len(pauses) == index:
            action()

    pauses: list[float] = []
    with patch.object(folding, "sleep", pause):
        yield pauses
    assert len(pauses) == index


def assert_exact() -> int:
    """Compare all counts with the log in the same snapshot. Return the number of rows of the log."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        expected = list(Submission.objects.counted())
        assert (ranking.top(100_000), ranking.top(3)) == (expected, expected[:3])
        for rank, (number, count) in enumerate(expected[:3], start=1):
            assert ranking.count_of(number) == count
            facts = ranking.facts_of(number)
            assert (facts.count, facts.rank) == (count, rank)
        assert_activity_is_exact()
        assert not Watermark.objects.exclude(minutes_through=F("through"))  # release 0.1.0 reads both
        return sum(count for _, count in expected)


def assert_activity_is_exact() -> None:
    """Compare the activity of the last hour with the log."""
    buckets = activity.activity("hour")
    log = Submission.objects.filter(created_at__gte=buckets[0].start)
    counts = log.values_list("number", TruncMinute("created_at")).annotate(count=Count("*"))
    expected: Counter[tuple[datetime, rules.Kind]] = Counter()
    for number, minute, count in counts:
        expected[minute, rules.classify(number)] += count
    assert expected == Counter(
        {(bucket.start, kind): count for bucket in buckets for kind, count in bucket.counts.items()}
    )


def create_submissions(*numbers: int) -> list[Submission]:
    """Create submissions in this order, without the write path."""
    return [Submission.objects.create(number=number) for number in numbers]


def body_of(submission: Submission) -> dict[str, Any]:
    return {
        "id": submission.id,
        "number": submission.number,
        "result": submission.result,
        "kind": submission.kind.value,
        "created_at": submission.created_at.isoformat().replace("+00:00", "Z"),
    }
