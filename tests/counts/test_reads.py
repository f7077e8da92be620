"""Shared reads include every write that was acknowledged before the call."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from fizzbuzz.counts import folding, ranking
from fizzbuzz.counts.ranking import NumberFacts, facts_of
from tests.log import append, append_at
from tests.marks import commits

pytestmark = commits

NUMBER, WRITES, THREADS = 15, 40, 8
READS: list[Callable[[], int]] = [
    lambda: ranking.shared_count_of(NUMBER),
    lambda: ranking.shared_facts_of(NUMBER).count,
    lambda: ranking.shared_top(3)[0].count,
]


class Log:
    """Writes one number, and counts the acknowledged writes."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.statements = 0
        self._guard = threading.Lock()

    def write(self) -> None:
        append(NUMBER)
        with self._guard:
            self.acknowledged += 1

    def count_statement(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        with self._guard:
            self.statements += 1
        return execute(*arguments)


def test_read_includes_every_write_acknowledged_before_it() -> None:
    log, stale = Log(), []

    def write_and_read() -> None:
        for turn in range(WRITES):
            log.write()
            if turn % 10 == 0:
                folding.fold()
            with connection.execute_wrapper(log.count_statement):
                for read in READS:
                    acknowledged = log.acknowledged
                    if (found := read()) < acknowledged:
                        stale.append((found, acknowledged))
        connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(write_and_read) for _ in range(THREADS)]:
            future.result()

    assert stale == []
    assert ranking.count_of(NUMBER) == log.acknowledged == WRITES * THREADS
    assert log.statements < 3 * WRITES * THREADS  # fewer than the reads, so some were shared


def test_facts_have_times_of_first_and_last_submission() -> None:
    append_at("2026-01-31T12:00Z", 15, 7)
    append_at("2026-02-01T12:00Z", 15, 8)
    append_at("2026-02-02T12:00Z", 15)

    first, last = datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 2, 2, 12, tzinfo=UTC)
    assert facts_of(15) == NumberFacts(15, 3, 1, first, last)
    assert facts_of(7) == NumberFacts(7, 1, 2, first, first)
    assert facts_of(9) == NumberFacts(9, 0, None, None, None)


def test_only_the_first_hundred_numbers_have_a_rank() -> None:
    numbers = [number for number in range(150) for _ in range(150 - number)]
    append(*numbers[: len(numbers) // 2])
    folding.fold()
    append(*numbers[len(numbers) // 2 :])

    assert [facts_of(number).rank for number in (0, 1, 98, 99, 100, 149)] == [1, 2, 99, 100, None, None]
