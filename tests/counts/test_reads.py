"""Reads: exact, and rejected while the tail is too long."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.test import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fizzbuzz import rules
from fizzbuzz.counts import fold_scheduler, folding, ranking
from fizzbuzz.counts.activity import PERIODS, activity
from tests.log import INSERT, append, append_at, at_pause, open_transaction
from tests.marks import commits

pytestmark = commits

FEW = st.lists(st.integers(-3, 6), max_size=25)
NONE: dict[str, int] = dict.fromkeys(rules.Kind, 0)


@given(folded=FEW, tail=FEW, limit=st.integers(1, 4), near=st.sampled_from([0, 1, 100]))
@example(folded=[1, 1, 2, 2, 3], tail=[3], limit=1, near=100)  # no change
@example(folded=[2, 2, 1], tail=[1], limit=1, near=100)  # from a count one lower, by being smaller
@example(folded=[2], tail=[1], limit=1, near=100)  # not in the rollup
@example(folded=[2, 2, 2, 1], tail=[1, 1], limit=1, near=100)  # from a much lower count
@example(folded=[2, 2, 1], tail=[2], limit=4, near=100)  # first of both rollup and tail: counted once in 1's rank
@example(folded=[2, 2, 3, 3, 4, 4], tail=[4], limit=1, near=1)  # from behind more ties than MAX_NEAR_NUMBERS
@settings(max_examples=15, deadline=None)
def test_top_and_facts_equal_a_count_of_the_log(folded: list[int], tail: list[int], limit: int, near: int) -> None:
    counted = Counter(folded + tail)
    ranked = sorted(counted, key=lambda number: (-counted[number], number))

    limits = patch.multiple(ranking, MAX_NEAR_NUMBERS=near, MAX_RANK=limit)
    with transaction.atomic(), limits, connection.cursor() as cursor:
        append(*folded)
        cursor.execute("""
            INSERT INTO fizzbuzz_numbercount SELECT number, count(*) FROM fizzbuzz_submission GROUP BY number;
            INSERT INTO fizzbuzz_watermark (id, through, folded_at)
            SELECT 1, COALESCE(max(id), 0), now() FROM fizzbuzz_submission
        """)
        append(*tail)
        top = ranking.top(limit)
        facts = [ranking.facts_of(number) for number in range(-4, 8)]
        transaction.set_rollback(True)

    assert top == [(number, counted[number]) for number in ranked[:limit]]
    for each in facts:
        assert each.count == counted[each.number]
        assert each.rank == (ranked.index(each.number) + 1 if each.number in ranked[:limit] else None)
        assert (each.first is not None) == (each.last is not None) == (each.number in counted)


def test_reads_are_rejected_while_the_tail_is_too_long(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "MAX_TAIL_ROWS", 5)
    reads = ["/api/most_common", "/api/numbers/15"]
    append(7)
    fold_scheduler.scheduler.step()
    append(*[15] * 6)
    known = client.get("/api/most_common")
    with open_transaction() as folder:
        folder.execute("SELECT FROM fizzbuzz_watermark FOR UPDATE")
        fold_scheduler.scheduler.step()
        folder.execute("LOCK TABLE fizzbuzz_watermark")  # the tail can't be measured
        fold_scheduler.scheduler.step()
        rejected = [client.get(path) for path in reads]
    fold_scheduler.scheduler.step()

    assert known.status_code == 200
    assert [(answer.status_code, answer["Retry-After"], answer.json()["detail"]) for answer in rejected] == [
        (503, "5", "The counts are catching up with the log: 6 rows remain. Try again in a moment.")
    ] * 2
    assert [client.get(path).status_code for path in reads] == [200, 200]
    assert ranking.top(1) == [(15, 6)]


def test_reads_are_rejected_if_the_tail_beyond_a_kept_limit_is_too_long(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when ten million rows are committed while the limit waits for their writer."""
    monkeypatch.setattr(ranking, "MAX_TAIL_ROWS", 5)

    def commit_more() -> None:
        late.execute(INSERT, [[7] * 6])
        late.commit()

    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        append(15)
        with at_pause(1, commit_more):
            assert fold_scheduler.scheduler.step() == 2
    assert client.get("/api/most_common").status_code == 503
    assert fold_scheduler.scheduler.step() == 6
    assert client.get("/api/most_common").status_code == 200


@pytest.mark.parametrize("read", [lambda: ranking.count_of(15), lambda: ranking.facts_of(15), lambda: activity("hour")])
def test_each_read_is_rejected_while_the_tail_is_too_long(read: Callable[[], object]) -> None:
    ranking.note_tail(ranking.MAX_TAIL_ROWS + 1)  # undone by conftest.py

    with pytest.raises(ranking.CatchingUp):
        read()


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("folded", [True, False])
def test_submission_is_counted_in_the_bucket_of_its_time(period: str, folded: bool) -> None:
    second = activity(period)[1].start  # still a bucket if the next one begins during the test
    width = PERIODS[period].width
    append_at(f"{second - timedelta(microseconds=1)}", 7)
    append_at(f"{second}", 15, 3)
    append_at(f"{second + width - timedelta(microseconds=1)}", 3, 5)
    append_at(f"{second + width}", 8, 9)
    append_at(f"{second - 2 * width}", 10)  # before the first bucket
    if folded:
        assert folding.fold() == 8

    starts, counts = zip(*activity(period), strict=True)
    index = starts.index(second)

    assert starts == tuple(second + (each - index) * width for each in range(PERIODS[period].buckets))
    assert (second - datetime.fromtimestamp(0, UTC)) % width == timedelta()
    assert counts[index] == {**NONE, "FizzBuzz": 1, "Fizz": 2, "Buzz": 1}
    assert counts[index + 1] == {**NONE, "Number": 1, "Fizz": 1}
    assert counts[:index] in [(), ({**NONE, "Number": 1},)]
    assert sum(sum(each.values()) for each in counts[index + 2 :]) == 0
