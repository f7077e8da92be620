from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Sum

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.models import MinuteCount, NumberCount, Watermark
from tests.log import OLD_FOLD, another, append, append_at, assert_exact
from tests.marks import commits

pytestmark = commits


def through() -> int:
    return Watermark.objects.get().through


def test_empty_log_has_no_top() -> None:
    assert ranking.top(3) == []
    assert ranking.count_of(15) == 0
    assert folding.fold() == 0
    assert ranking.top(3) == []
    assert verify.verify() == []
    assert verify.rebuild() == 0


def test_fold_folds_the_whole_tail() -> None:
    append(15, 7)
    assert folding.fold() == 2
    assert folding.fold() == 0
    append(15)
    assert folding.fold() == 1

    assert list(NumberCount.objects.order_by("number").values_list("number", "count")) == [(7, 1), (15, 2)]


def test_fold_counts_the_kinds_of_each_minute() -> None:
    append_at("2026-01-31T12:00:00Z", 15, 0, -3)
    append_at("2026-01-31T12:01:00Z", 5)
    folding.fold()
    append_at("2026-01-31T12:00:59.999999Z", 7, 15)
    folding.fold()

    assert list(MinuteCount.objects.order_by("minute").values_list()) == [
        (datetime(2026, 1, 31, 12, 0, tzinfo=UTC), 1, 0, 3, 1),
        (datetime(2026, 1, 31, 12, 1, tzinfo=UTC), 0, 1, 0, 0),
    ]


@pytest.mark.parametrize("max_rows", [2, 2_000])
def test_minutes_that_lag_behind_catch_up(monkeypatch: pytest.MonkeyPatch, max_rows: int) -> None:
    monkeypatch.setattr(folding, "MAX_ROWS_PER_FOLD", max_rows)
    append(15, 7, 7)
    with connection.cursor() as cursor:
        cursor.execute(OLD_FOLD)
    append(15, 5)
    assert verify.verify() == []

    rows = 0
    while folded := folding.fold():
        rows += folded
        assert assert_exact() == 5
        assert verify.verify() == []

    assert rows == 5
    assert MinuteCount.objects.aggregate(*map(Sum, ("fizzbuzz", "buzz", "number"))) == {
        "fizzbuzz__sum": 2,
        "buzz__sum": 1,
        "number__sum": 2,
    }


def test_minutes_catch_up_without_new_rows() -> None:
    append(15, 7, 7)
    with connection.cursor() as cursor:
        cursor.execute(OLD_FOLD)

    assert folding.fold() == 3
    assert folding.fold() == 0
    assert MinuteCount.objects.aggregate(*map(Sum, ("fizzbuzz", "number"))) == {"fizzbuzz__sum": 1, "number__sum": 2}
    assert verify.verify() == []


def test_long_tail_is_folded_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_ROWS_PER_FOLD", 4)
    append(*[1, 2, 2] * 3)

    folds = []
    while rows := folding.fold():
        folds.append(rows)
        assert ranking.top(3) == [(2, 6), (1, 3)]

    assert folds == [4, 4, 1]
    assert verify.verify() == []


def test_fold_is_skipped_while_another_process_folds() -> None:
    append(15)
    folding.fold()
    append(15)

    with another() as folder:
        folder.execute("SELECT FROM fizzbuzz_watermark FOR UPDATE")
        assert folding.fold() is None

    assert folding.fold() == 1


@pytest.mark.parametrize("table", ["fizzbuzz_watermark", "fizzbuzz_numbercount", "fizzbuzz_minutecount"])
def test_fold_is_skipped_while_a_table_is_locked(table: str) -> None:
    append(15)

    with another() as migration:
        migration.execute(f"LOCK TABLE {table}")
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
    ],
)
def test_rebuild_repairs_the_differences_that_verify_finds(wrong: str) -> None:
    append(*range(-10, 8), 7, 15)
    folding.fold()
    with connection.cursor() as cursor:
        cursor.execute(wrong)
    append(15)
    differences = verify.verify()

    shares: list[float] = []
    repaired = verify.rebuild(shares.append)

    assert len(differences) == repaired > 0
    assert verify.verify() == []
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert assert_exact() == 21


def test_rebuild_counts_a_log_that_was_never_folded() -> None:
    append(15, 7, 15)
    verify.rebuild()

    assert verify.verify() == []
    assert folding.fold() == 0
    assert ranking.top(3) == [(15, 2), (7, 1)]


def test_rebuild_after_the_log_was_emptied() -> None:
    append(15, 15, 7)
    folding.fold()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE fizzbuzz_submission RESTART IDENTITY")
    append(7)

    verify.rebuild()

    assert ranking.top(3) == [(7, 1)]
    append(7)
    assert assert_exact() == 2
    assert folding.fold() == 1
    assert verify.verify() == []


def test_top_numbers_command_lists_and_repairs_differences(capsys: pytest.CaptureFixture[str]) -> None:
    append_at("2026-01-31T12:00:59Z", 15, 15, 7)
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
