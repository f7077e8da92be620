"""Reads are rejected while the tail is too long to be counted in time."""

from collections.abc import Callable

import pytest
from django.test import Client

from fizzbuzz.counts import fold_scheduler, ranking
from fizzbuzz.counts.activity import activity
from fizzbuzz.counts.ranking import facts_of
from tests.log import INSERT, append, at_pause, open_transaction
from tests.marks import commits

pytestmark = commits


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
    assert client.get("/api/most_common").json()[0] == {
        "number": 15,
        "result": "FizzBuzz",
        "kind": "FizzBuzz",
        "count": 6,
    }


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


@pytest.mark.parametrize("read", [lambda: ranking.count_of(15), lambda: facts_of(15), lambda: activity("hour")])
def test_each_read_is_rejected_while_the_tail_is_too_long(read: Callable[[], object]) -> None:
    ranking.note_tail(ranking.MAX_TAIL_ROWS + 1)  # undone by conftest.py

    with pytest.raises(ranking.CatchingUp):
        read()
