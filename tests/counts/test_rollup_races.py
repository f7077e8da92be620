"""Race conditions, each forced at every statement where it could happen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.counts.activity import activity
from fizzbuzz.counts.ranking import facts_of
from fizzbuzz.models import MinuteCount, NumberCount
from fizzbuzz.rules import Kind
from tests.log import INSERT, append, assert_exact, before_statement, on_another_connection, open_transaction
from tests.marks import commits

pytestmark = commits

FOLD_STATEMENTS = range(11)


@contextmanager
def after_each_statement(action: Callable[[], object]) -> Iterator[None]:
    """Run the action on another connection after each statement of this one."""

    def execute_both(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        on_another_connection(action)
        return result

    with connection.execute_wrapper(execute_both):
        yield


def test_later_writer_does_not_delay_a_fold() -> None:
    append(15)

    def write() -> None:
        late.execute(INSERT, [[7]])

    with open_transaction() as late, before_statement(3, write):
        assert folding.fold() == 1
        late.commit()

    assert assert_exact() == 2
    assert folding.fold() == 1
    assert verify.verify() == []


@pytest.mark.parametrize("moment", FOLD_STATEMENTS)
def test_writer_may_begin_at_any_moment_of_a_fold_and_commit_after_a_later_one(moment: int) -> None:
    append(1)

    def overtake() -> None:
        late.execute(INSERT, [[7]])
        on_another_connection(lambda: append(15))

    with open_transaction() as late:
        with before_statement(moment, overtake):
            folding.fold()
        assert assert_exact() == 2
        late.commit()

    assert assert_exact() == 3
    folding.fold()
    assert verify.verify() == []
    assert assert_exact() == 3


@pytest.mark.parametrize(
    "moment", [1, 2, 3], ids=["before the newest id is read", "before the first look for writers", "before the second"]
)
def test_fold_includes_a_writer_that_commits_during_the_wait(moment: int) -> None:
    append(1)
    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(15)

        with before_statement(moment, late.commit):
            assert folding.fold(timeout_seconds=60) == 3

    assert assert_exact() == 3
    assert verify.verify() == []


@pytest.mark.parametrize("moment", FOLD_STATEMENTS)
def test_concurrent_fold_may_run_at_any_moment_of_a_fold(moment: int) -> None:
    append(1)
    folding.fold()
    append(15)

    def fold_too() -> None:
        on_another_connection(lambda: append(15))
        on_another_connection(folding.fold)

    with before_statement(moment, fold_too):
        folding.fold()

    assert assert_exact() == 3
    folding.fold()
    assert verify.verify() == []
    assert assert_exact() == 3


@pytest.mark.parametrize(
    "read",
    [
        lambda: ranking.top(3)[0].count,
        lambda: ranking.count_of(15),
        lambda: facts_of(15).count,
        lambda: sum(bucket.counts[Kind.FIZZBUZZ] for bucket in activity("month")),
    ],
)
def test_fold_may_run_at_any_moment_of_a_read(read: Callable[[], int]) -> None:
    append(15, 15, 15)
    folding.fold()
    append(15, 15)

    with after_each_statement(folding.fold):
        assert read() == 5
    assert folding.fold() == 0


def test_reads_and_writes_continue_during_a_rebuild() -> None:
    append(*range(100))
    folding.fold()
    NumberCount.objects.filter(number__lt=50).delete()
    NumberCount.objects.filter(number=99).update(count=7)
    MinuteCount.objects.update(buzz=99)

    def read_and_write() -> None:
        append(1, 99)
        seen.append(NumberCount.objects.count())
        folded.append(folding.fold())

    seen: list[int] = []
    folded: list[int | None] = []
    minutes = MinuteCount.objects.count()  # two if the test started just before the end of a minute
    with after_each_statement(read_and_write):
        assert verify.rebuild() == 51 + minutes

    assert min(seen) == 50
    assert None in folded
    assert assert_exact() == 100 + 2 * len(seen)
    folding.fold()
    assert verify.verify() == []


def test_verify_uses_one_snapshot() -> None:
    append(*range(100))
    folding.fold()

    def fold_more() -> None:
        append(1, 99)
        folding.fold()

    with after_each_statement(fold_more):
        assert verify.verify() == []
