"""Concurrent writes, folds and reads in separate processes, and sequences of operations that hypothesis generates."""
# ruff: noqa: S311 - nothing here is secret

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from django.db import connection
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fizzbuzz.counts import fold_scheduler, folding, ranking, verify
from fizzbuzz.models import MinuteCount, NumberCount, Submission
from fizzbuzz.submissions import record
from tests.log import INSERT, assert_activity_is_exact, assert_exact, open_transaction
from tests.marks import commits

pytestmark = commits


def number() -> int:
    """Return a random number, often one of a few common ones."""
    return random.choice([15, 15, 15, random.randint(1, 9), random.randint(-500, 500)])


def numbers() -> list[int]:
    return [number() for _ in range(random.randint(1, 30))]


# The operations. Each runs once, and returns how many rows it wrote or folded, or 1 for a read.


def write(database: psycopg.Connection) -> int:
    one = random.random() < 0.5
    rows = [record.record_one(number(), "api")] if one else record.record_batch(numbers(), "batch")
    fold_scheduler.scheduler.step()
    return len(rows)


def write_late_or_not(database: psycopg.Connection) -> int:
    rows = database.execute(INSERT, [numbers()]).rowcount
    time.sleep(random.uniform(0, 1.5 * folding.SETTLE_TIMEOUT_SECONDS))
    if random.random() < 0.5:
        database.rollback()
        return 0
    rows += database.execute(INSERT, [numbers()]).rowcount
    database.commit()
    return rows


def copy(database: psycopg.Connection) -> int:
    rows = numbers()
    with database.cursor().copy("COPY fizzbuzz_submission (number) FROM STDIN") as rows_in:
        for row in rows:
            rows_in.write_row([row])
            time.sleep(random.uniform(0, 0.001))
    database.commit()
    return len(rows)


def fold(database: psycopg.Connection) -> int:
    return folding.fold() or 0


def read(database: psycopg.Connection) -> int:
    assert_exact()
    return 1


def read_as_a_request_does(database: psycopg.Connection) -> int:
    before = Submission.objects.count()
    counted = sum(each.count for each in ranking.top(100_000))
    assert before <= counted <= Submission.objects.count()
    return 1


def repeat(operation: Callable[[psycopg.Connection], int], until: float) -> int:
    """Repeat the operation; runs in its own process."""
    random.seed()
    with open_transaction() as database:
        total = 0
        while time.monotonic() < until:
            total += operation(database)
    return total


@pytest.mark.skipif(
    Path("/dev/shm").exists() and not os.access("/dev/shm", os.W_OK),  # noqa: S108 - only asked for
    reason="the processes' locks need a writable /dev/shm",
)
@pytest.mark.parametrize("seconds", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_every_read_is_exact_during_concurrent_writes_and_folds(seconds: float) -> None:
    writers = [write, write, write, write_late_or_not, write_late_or_not, copy]
    # Citus has no distributed snapshot, so that two reads of one transaction may differ there.
    exact = read_as_a_request_does if folding.is_distributed() else read
    operations = [*writers, fold, fold, exact, read_as_a_request_does]
    connection.close()

    with ProcessPoolExecutor(len(operations), multiprocessing.get_context("fork")) as processes:
        until = time.monotonic() + seconds
        done = list(processes.map(repeat, operations, [until] * len(operations)))

    assert min(*done[: len(writers)], sum(done[-4:-2]), *done[-2:]) > 0
    assert assert_exact() == sum(done[: len(writers)])
    while folding.fold():
        pass
    assert verify.verify() == []


some_number = st.integers(-2, 4) | st.sampled_from([-(2**63), 2**63 - 1])


class Machine(RuleBasedStateMachine):
    """Compares the counts with a Counter of the committed numbers."""

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE fizzbuzz_submission, fizzbuzz_numbercount, fizzbuzz_minutecount, fizzbuzz_watermark"
            )
        self.committed: Counter[int] = Counter()
        self.connections = ExitStack()
        self.idle = [self.connections.enter_context(open_transaction()) for _ in range(2)]
        self.open: list[tuple[psycopg.Connection, list[int]]] = []

    @rule(number=some_number)
    def submit(self, number: int) -> None:
        record.record_one(number, "api")
        self.committed[number] += 1

    @rule(numbers=st.lists(some_number, min_size=1, max_size=7))
    def batch(self, numbers: list[int]) -> None:
        record.record_batch(numbers, "batch")
        self.committed.update(numbers)

    @precondition(lambda self: self.idle)
    @rule(numbers=st.lists(some_number, min_size=1, max_size=3))
    def begin(self, numbers: list[int]) -> None:
        database = self.idle.pop()
        database.execute(INSERT, [numbers])
        self.open.append((database, numbers))

    @precondition(lambda self: self.open)
    @rule(index=st.integers(0, 1), commits=st.booleans())
    def end(self, index: int, *, commits: bool) -> None:
        database, numbers = self.open.pop(index % len(self.open))
        self.idle.append(database)
        if commits:
            database.commit()
            self.committed.update(numbers)
        else:
            database.rollback()

    @rule()
    def fold(self) -> None:
        assert folding.fold(timeout_seconds=0) is not None or self.open

    @rule(number=some_number)
    def step(self, number: int) -> None:
        """Run a step of the scheduler. While it waits for the open transactions, they commit, and others."""

        def pause(seconds: float) -> None:
            self.submit(number)
            self.end(0, commits=True)

        with patch.object(folding, "sleep", pause):
            fold_scheduler.scheduler.step()

    @rule()
    def rebuild(self) -> None:
        try:
            verify.rebuild()
        except verify.NotRebuilt:
            assert self.open
        assert verify.verify() == []

    @precondition(lambda self: not self.open)
    @rule(number=some_number)
    def damage(self, number: int) -> None:
        NumberCount.objects.update_or_create(number=number, defaults={"count": 10**6})
        MinuteCount.objects.update(number=10**6)
        verify.rebuild()

    @invariant()
    def reads_are_exact(self) -> None:
        expected = sorted(self.committed.items(), key=lambda each: (-each[1], each[0]))
        assert (ranking.top(2), ranking.top(100)) == (expected[:2], expected)
        assert_activity_is_exact()

    def teardown(self) -> None:
        self.connections.close()


@pytest.mark.parametrize("examples", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_reads_are_exact_after_any_sequence_of_operations(monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    monkeypatch.setattr(folding, "MAX_ROWS_PER_FOLD", 4)
    monkeypatch.setattr(verify, "WRITERS_TIMEOUT_SECONDS", 0.005)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None, database=None)
    )
