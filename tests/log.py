"""The log as the tests fill it, from this connection and others, and the one question asked of it all over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psycopg
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.functions import TruncMinute

from fizzbuzz import rules
from fizzbuzz.counts import activity, ranking
from fizzbuzz.counts.number_facts import facts_of
from fizzbuzz.models import Submission

T = TypeVar("T")

INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[])"

# As a release did it that knew no minutes yet.
OLD_FOLD = """
    WITH piece AS (
        SELECT id, number FROM fizzbuzz_submission
        WHERE id > COALESCE((SELECT through FROM fizzbuzz_watermark), 0) ORDER BY id
    ), rolled_up AS (
        INSERT INTO fizzbuzz_numbercount AS rolled_up (number, count)
        SELECT number, count(*) FROM piece GROUP BY number ORDER BY number
        ON CONFLICT (number) DO UPDATE SET count = rolled_up.count + EXCLUDED.count
    )
    INSERT INTO fizzbuzz_watermark (id, through, folded_at) SELECT 1, max(id), now() FROM piece HAVING count(*) > 0
    ON CONFLICT (id) DO UPDATE SET through = EXCLUDED.through, folded_at = now()
"""


def append(*numbers: int) -> None:
    """As recording.record, but folds nothing."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [list(numbers)])


def append_at(time: str, *numbers: int) -> None:
    """As if they had been sent at this time (ISO 8601)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_submission (number, created_at) SELECT unnest(%s::bigint[]), %s::timestamptz",
            [list(numbers), time],
        )


@contextmanager
def another() -> Iterator[psycopg.Connection]:
    """Another connection, in a transaction that is rolled back unless it is committed."""
    database = psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": psycopg.ClientCursor})
    try:
        yield database
        if not database.closed:
            database.rollback()  # heard of here: who hangs up leaves its locks for a moment yet
    finally:
        database.close()


def elsewhere(function: Callable[[], T]) -> T:
    """Its result on a connection of its own, as in another process."""

    def run() -> T:
        try:
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@contextmanager
def before_statement(index: int, action: Callable[[], object]) -> Iterator[None]:
    """Takes the action before this connection's statement of this index; there must be so many."""
    seen = 0

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal seen
        if seen == index:
            action()
        seen += 1
        return execute(*arguments)

    with connection.execute_wrapper(count):
        yield
    assert seen > index


def assert_exact() -> int:
    """Compares each answer with the definition in the same snapshot; says how many rows the log has."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        expected = Submission.objects.most_common(100_000)
        assert ranking.top(100_000) == expected
        assert ranking.top(3) == expected[:3]
        for rank, (number, count) in enumerate(expected[:3], start=1):
            assert ranking.count_of(number) == count
            assert facts_of(number)[1:3] == (count, rank)
        assert_activity_is_exact()
        return sum(count for _, count in expected)


def assert_activity_is_exact() -> None:
    """Compares each window with the log's own minutes."""
    log = Submission.objects.values("number", minute=TruncMinute("created_at")).annotate(count=Count("*"))
    minutes: Counter[tuple[datetime, rules.Kind]] = Counter()
    for minute, number, count in log.values_list("minute", "number", "count"):
        minutes[minute, rules.classify(number)] += count
    for name, window in activity.PERIODS.items():
        buckets = activity.activity(name)
        starts = [bucket.start for bucket in buckets]
        assert starts == [starts[0] + place * window.width for place in range(window.buckets)]
        assert (starts[0] - datetime.fromtimestamp(0, UTC)) % window.width == timedelta()
        expected: Counter[tuple[int, rules.Kind]] = Counter()
        for (minute, kind), count in minutes.items():
            if minute >= starts[0]:
                expected[(minute - starts[0]) // window.width, kind] += count
        assert expected == Counter(
            {(place, kind): count for place, bucket in enumerate(buckets) for kind, count in bucket.counts.items()}
        )
