"""Folds, reads, --verify and --rebuild, each at every statement of the others; and what a rebuild repairs."""

from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.counts.activity import activity
from fizzbuzz.models import MinuteCount, NumberCount, Submission
from fizzbuzz.rules import Kind
from tests.log import (
    INSERT,
    append,
    append_at,
    assert_exact,
    at_statement,
    on_another_connection,
    open_transaction,
    replace_log,
)
from tests.marks import commits

pytestmark = commits


@pytest.mark.parametrize(
    "lock",
    [
        "SELECT FROM fizzbuzz_watermark FOR UPDATE",  # another process folds
        "LOCK TABLE fizzbuzz_watermark",  # a migration
        "LOCK TABLE fizzbuzz_numbercount",
        "LOCK TABLE fizzbuzz_minutecount",
    ],
)
def test_fold_is_skipped_while_something_is_locked(lock: str) -> None:
    append(15)
    folding.fold()
    append(15)

    with open_transaction() as other:
        other.execute(lock)
        assert folding.fold() is None

    assert folding.fold() == 1


def test_fold_rejects_an_outer_transaction() -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        folding.fold()


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE fizzbuzz_numbercount SET count = count + 1",
        "DELETE FROM fizzbuzz_numbercount",
        "INSERT INTO fizzbuzz_numbercount VALUES (8, 1)",
        "UPDATE fizzbuzz_minutecount SET fizz = fizz + 1, buzz = buzz - 1",
        "DELETE FROM fizzbuzz_minutecount",
        "INSERT INTO fizzbuzz_minutecount VALUES ('2001-01-01 00:00 UTC', 0, 1, 0, 0)",
        "DELETE FROM fizzbuzz_submission WHERE number = 7",
    ],
)
def test_rebuild_repairs_the_differences_that_verify_finds(wrong: str) -> None:
    append(*range(-10, 8), 7, 15)
    folding.fold()
    with connection.cursor() as cursor:
        cursor.execute(wrong)
    append(15)
    differences = verify.verify()

    repaired = verify.rebuild()

    assert len(differences) == repaired > 0
    assert verify.verify() == []
    assert assert_exact() == Submission.objects.count()


def test_rebuild_of_an_emptied_log_waits_for_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After TRUNCATE, the watermark may be among new ids, below which a row is not yet visible."""
    monkeypatch.setattr(verify, "WRITERS_TIMEOUT_SECONDS", 0.01)
    append(15, 15, 7)
    verify.rebuild()  # of a log that was never folded
    assert folding.fold() == 0
    replace_log()

    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(7, 7, 7)
        with pytest.raises(CommandError, match=r"open for more than 0\.01 s\. Nothing was changed"):
            call_command("top_numbers", "--rebuild")
        late.commit()
    call_command("top_numbers", "--rebuild")

    append(7)
    assert assert_exact() == 5
    assert folding.fold() == 1
    assert verify.verify() == []


def test_top_numbers_command_lists_and_repairs_differences(capsys: pytest.CaptureFixture[str]) -> None:
    append_at("2026-01-31T12:00:00Z", 15, 7)
    append_at("2026-01-31T12:00:59.999999Z", 15)  # of the same minute
    folding.fold()
    NumberCount.objects.filter(number=15).update(count=3)
    MinuteCount.objects.update(fizz=5, fizzbuzz=1)

    with pytest.raises(CommandError, match=r"3 counts differ\. Repair them with top_numbers --rebuild\."):
        call_command("top_numbers", "--verify")
    call_command("top_numbers", "--rebuild")
    call_command("top_numbers", "--verify")
    call_command("top_numbers")

    output, errors = capsys.readouterr()
    assert output == (
        "15: the log has 2, the stored count is 3\n"
        "2026-01-31 12:00 UTC, Fizz: the log has 0, the stored count is 5\n"
        "2026-01-31 12:00 UTC, FizzBuzz: the log has 2, the stored count is 1\n"
        "3 counts repaired.\n"
        "All counts match the log.\n"
        "number  result    count\n"
        "    15  FizzBuzz      2\n"
        "     7  7             1\n"
    )
    assert errors == ""


@pytest.mark.parametrize("moment", range(11))
@pytest.mark.parametrize("another_folds", [True, False])
def test_writer_may_begin_at_any_moment_of_a_fold_and_commit_after_a_later_one(
    moment: int, *, another_folds: bool
) -> None:
    append(1)
    folding.fold()
    append(15)

    def overtake() -> None:
        on_another_connection(lambda: append(15))
        if another_folds:
            on_another_connection(folding.fold)
        late.execute(INSERT, [[7]])
        on_another_connection(lambda: append(15))

    with open_transaction() as late:
        with at_statement(moment, overtake):
            folding.fold()
        assert assert_exact() == 4
        late.commit()

    assert assert_exact() == 5
    folding.fold()
    assert (verify.verify(), assert_exact()) == ([], 5)


@pytest.mark.parametrize(
    "moment", [1, 2, 3], ids=["before the newest id is read", "before the first look for writers", "before the second"]
)
def test_fold_includes_a_writer_that_commits_during_the_wait(moment: int) -> None:
    append(1)
    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(15)

        with at_statement(moment, late.commit):
            assert folding.fold(timeout_seconds=60) == 3

    assert (assert_exact(), verify.verify()) == (3, [])


@pytest.mark.parametrize(
    "read",
    [
        lambda: ranking.shared_top(3)[0].count,
        lambda: ranking.shared_count_of(15),
        lambda: ranking.shared_facts_of(15).count,
        lambda: sum(bucket.counts[Kind.FIZZBUZZ] for bucket in activity("month")),
    ],
)
def test_fold_may_run_at_any_moment_of_a_read(read: Callable[[], int]) -> None:
    append(15, 15, 15)
    folding.fold()
    assert read() == 3
    append(15, 15)

    with at_statement(None, lambda: on_another_connection(folding.fold)):
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
    with at_statement(None, lambda: on_another_connection(read_and_write)):
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

    with at_statement(None, lambda: on_another_connection(fold_more)):
        assert verify.verify() == []
