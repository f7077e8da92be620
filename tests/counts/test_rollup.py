from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.counts.ranking import NumberFacts, facts_of
from fizzbuzz.models import MinuteCount, NumberCount
from tests.log import INSERT, append, append_at, assert_exact, open_transaction
from tests.marks import commits

pytestmark = commits


def test_empty_log_has_no_top() -> None:
    assert ranking.top(3) == []
    assert ranking.count_of(15) == 0
    assert folding.fold() == 0
    assert ranking.top(3) == []
    assert verify.verify() == []
    assert verify.rebuild() == 0
    assert assert_exact() == 0


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


def test_rebuild_waits_for_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """After TRUNCATE, the watermark may be among new ids, below which a row is not yet visible."""
    monkeypatch.setattr(verify, "WRITERS_TIMEOUT_SECONDS", 0.01)
    append(15, 15, 7)
    folding.fold()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE fizzbuzz_submission RESTART IDENTITY")

    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(7, 7, 7)
        with pytest.raises(CommandError, match=r"open for more than 0\.01 s\. Nothing was changed"):
            call_command("top_numbers", "--rebuild")
        late.commit()
    call_command("top_numbers", "--rebuild")

    assert ranking.top(3) == [(7, 4)]
    assert verify.verify() == []


def test_number_whose_rows_were_deleted_has_its_count_and_no_times(client: Client) -> None:
    append(15, 15, 7)
    folding.fold()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM fizzbuzz_submission WHERE number = 15")

    answer = client.get("/api/numbers/15")

    assert (answer.status_code, answer.json()["count"]) == (200, 2)
    assert facts_of(15) == NumberFacts(15, 2, 1, None, None)
    assert verify.verify() == [("15", 0, 2), *verify.verify()[1:]]
    verify.rebuild()
    assert ranking.top(3) == [(7, 1)]
    assert assert_exact() == 1


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
