"""Folds: when they run, what they wait for, and what a failed one changes."""

from unittest.mock import Mock

import pytest
from django.db import InterfaceError, connection, transaction
from django.test import Client
from prometheus_client import REGISTRY

from fizzbuzz import metrics
from fizzbuzz.counts import fold_scheduler, folding, ranking, verify
from fizzbuzz.models import NumberCount, Submission
from fizzbuzz.submissions import record
from tests.log import (
    INSERT,
    append,
    assert_exact,
    at_pause,
    at_statement,
    on_another_connection,
    open_transaction,
    replace_log,
)
from tests.marks import commits

pytestmark = commits


def folds(outcome: str) -> float:
    return REGISTRY.get_sample_value("fizzbuzz_folds_total", {"outcome": outcome}) or 0


def test_step_folds_the_whole_tail_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_ROWS_PER_FOLD", 4)
    append(*range(10))
    done = folds("done")

    assert [fold_scheduler.scheduler.step(), fold_scheduler.scheduler.step()] == [10, 0]
    assert folds("done") == done + 3
    assert verify.verify() == []


def test_step_waits_only_for_the_writers_that_it_found() -> None:
    def commit() -> None:
        later.execute(INSERT, [[8]])  # delays the next fold, not this one
        append(9)
        late.commit()

    with open_transaction() as late, open_transaction() as later:
        late.execute(INSERT, [[7]])
        append(15, 15)
        with at_pause(9, commit) as pauses:
            assert fold_scheduler.scheduler.step() == 3
        assert list(NumberCount.objects.order_by("number").values_list("number", "count")) == [(7, 1), (15, 2)]
        with at_pause(1, later.commit):
            assert fold_scheduler.scheduler.step() == 2

    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0]
    assert (verify.verify(), assert_exact()) == ([], 5)


def test_step_waits_for_all_writers_of_a_distributed_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "is_distributed", lambda: True)
    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(15)
        with at_pause(2, late.commit):
            assert fold_scheduler.scheduler.step() == 2


@pytest.mark.parametrize(("moment", "folded"), [(8, 0), (18, 4)], ids=["after it was found", "between two batches"])
def test_fold_limit_is_discarded_if_the_log_is_emptied(
    monkeypatch: pytest.MonkeyPatch, moment: int, folded: int
) -> None:
    """Its ids are assigned again, to writers that began after the limit was found."""
    monkeypatch.setattr(folding, "MAX_ROWS_PER_FOLD", 4)
    replace_log(*range(10))

    def replace_it() -> None:
        on_another_connection(lambda: replace_log(*range(5)))
        late.execute(INSERT, [[7]])
        on_another_connection(lambda: append(*range(20)))

    with open_transaction() as late:
        with at_statement(moment, replace_it):
            assert fold_scheduler.scheduler.step() == folded
        late.commit()

    assert fold_scheduler.scheduler.step() == 26 - folded
    assert verify.verify() == []
    assert assert_exact() == 26


def test_slow_folds_get_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each new number takes 2 ms, so that all of them take longer than a statement may."""
    monkeypatch.setattr(fold_scheduler, "SLOW_FOLD_SECONDS", 0.05)
    append(*range(80))
    with connection.cursor() as cursor:
        cursor.execute("""
            SET statement_timeout = '100ms';
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$;
            CREATE TRIGGER slow BEFORE INSERT ON fizzbuzz_numbercount FOR EACH ROW EXECUTE FUNCTION slow()
        """)
        try:
            folded = [fold_scheduler.scheduler.step()]
            while sum(folded) < 80 and len(folded) < 500:
                folded.append(fold_scheduler.scheduler.step())
        finally:
            cursor.execute("RESET statement_timeout; DROP TRIGGER slow ON fizzbuzz_numbercount; DROP FUNCTION slow()")

    assert folded[0] == 0
    assert sum(folded) == 80
    assert verify.verify() == []


def test_tail_is_measured_without_reading_uncommitted_rows() -> None:
    connection.close()  # a new session has no statistics of earlier transactions
    with open_transaction() as bulk:
        bulk.execute(INSERT, [[7] * 10_000])
        append(15)
        with transaction.atomic(), connection.cursor() as cursor:
            rows = folding.tail_rows(cursor)
            cursor.execute("SELECT pg_stat_get_xact_tuples_returned('fizzbuzz_submission_pkey'::regclass)")
            (read,) = cursor.fetchone()
        bulk.commit()

        assert rows < 100
        assert read <= folding.MAX_SAMPLED_IDS
        with connection.cursor() as cursor:
            assert 9_900 < folding.tail_rows(cursor) < 10_100


def test_failure_after_the_commit_does_not_change_the_response(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [OSError("no space left on device"), InterfaceError("the connection is closed")]
    monkeypatch.setattr(metrics, "count_submissions", Mock(side_effect=errors))

    single = client.post("/api/fizzbuzz", {"number": 15}, "application/json")
    batch = client.post("/api/fizzbuzz/batch", {"numbers": [15]}, "application/json")

    assert (single.status_code, batch.status_code) == (201, 201)
    assert Submission.objects.count() == 2


def test_failed_fold_is_logged_once_and_retried(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ranking, "MAX_TAIL_ROWS", 0)
    append(15)
    failed = folds("failed")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE fizzbuzz_numbercount RENAME TO elsewhere")
        steps = [fold_scheduler.scheduler.step(), fold_scheduler.scheduler.step()]
        cursor.execute("ALTER TABLE elsewhere RENAME TO fizzbuzz_numbercount")

    assert steps == [0, 0]
    assert folds("failed") == failed + 2
    (logged,) = [each.getMessage() for each in caplog.records if each.name == "fizzbuzz.db.faults"]
    assert logged.startswith('The database fails: relation "fizzbuzz_numbercount" does not exist')
    assert client.get("/api/most_common").status_code == 503  # a failed fold does not lift the limit
    assert fold_scheduler.scheduler.step() == 1
    assert client.get("/api/most_common").status_code == 200


def test_submissions_wake_the_fold_thread_every_thousand_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(fold_scheduler.FoldScheduler, "start", lambda self: woken.append(Submission.objects.count()))
    for _ in range(3):
        record.record_batch([15] * 400, "batch")

    assert woken == [1_200]


def test_form_succeeds_although_the_counts_cannot_be_read(client: Client) -> None:
    ranking.note_tail(ranking.MAX_TAIL_ROWS + 1)

    answer = client.post("/", {"number": "15"}, headers={"HX-Request": "true"})

    assert answer.status_code == 200
    assert "Recorded. Its count is not available right now." in answer.text
