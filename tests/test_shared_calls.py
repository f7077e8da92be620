from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import OperationalError
from django.test import Client

from fizzbuzz import shared_calls
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz_site.http import metrics_endpoint, probes
from tests.fresh import a_second_later
from tests.service import eventually


class Log:
    """Function under test: returns `rows` when the test calls `end`. Raises if `rows` is -1."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts = 0
        self._end = threading.Semaphore(0)

    def count(self, key: str) -> int:
        rows = self.rows  # the snapshot
        self.counts += 1
        self._end.acquire()
        if rows < 0:
            raise OperationalError("unavailable", key)
        return rows

    def end(self, times: int = 1) -> None:
        self._end.release(times)


class Crowd:
    def __init__(self, log: Log, max_age: float = 0) -> None:
        self.calls = SharedCalls(log.count, max_age)
        self._log = log
        self._pool = ThreadPoolExecutor(20)

    def arrive(self, times: int = 1, key: str = "a") -> list[Future[int]]:
        """Call from new threads; return when all of them run or wait."""
        before = self._users(key)
        futures = [self._pool.submit(self.calls, key) for _ in range(times)]
        assert eventually(lambda: self._users(key) == before + times)
        assert eventually(lambda: self._log.counts > 0)
        return futures

    def _users(self, key: str) -> int:
        slot = self.calls._slots.get(key)
        return slot.users if slot else 0


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.end(100)


def results(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in futures]


def test_caller_never_gets_the_result_of_a_call_that_began_before_it(log: Log) -> None:
    crowd = Crowd(log)

    first = crowd.arrive()
    log.rows = 1  # committed and acknowledged while the first read runs
    later = crowd.arrive(10)
    log.end(2)

    assert results(first) == [0]
    assert results(later) == [1] * 10
    assert log.counts == 2


def test_keys_do_not_share_calls(log: Log) -> None:
    crowd = Crowd(log)

    one, other = crowd.arrive(key="a"), crowd.arrive(key="b")
    assert eventually(lambda: log.counts == 2)
    log.end(2)

    assert results(one + other) == [0, 0]


def test_no_key_is_kept_without_a_maximum_age(log: Log) -> None:
    log.end(1_000)
    calls = SharedCalls(log.count)

    for number in range(1_000):
        calls(str(number))

    assert calls._slots == {}


def test_result_is_returned_until_max_age(log: Log) -> None:
    calls = SharedCalls(log.count, max_age=60)
    log.end(2)

    first, log.rows = calls("a"), 1
    again = calls("a")
    made_earlier(calls, 60)
    later = calls("a")

    assert (first, again, later) == (0, 0, 1)
    assert log.counts == 2


def test_first_call_is_shared_by_all_waiting_callers(log: Log) -> None:
    crowd = Crowd(log, max_age=60)

    futures = crowd.arrive(10)
    log.end()

    assert results(futures) == [0] * 10
    assert log.counts == 1


def test_last_result_is_returned_during_the_next_call(log: Log) -> None:
    crowd = Crowd(log, max_age=60)
    log.end()
    crowd.calls("a")
    log.rows = 1

    made_earlier(crowd.calls, 60)
    maker = crowd.arrive()
    assert eventually(lambda: log.counts == 2)
    during_call = crowd.calls("a")
    made_earlier(crowd.calls, 60)
    waiting = crowd.arrive(3)
    log.end()

    assert (during_call, results(maker), results(waiting)) == (0, [1], [1] * 3)
    assert log.counts == 2


@pytest.mark.parametrize("max_age", [0, 60])
def test_error_is_raised_to_each_waiting_caller_as_a_copy(log: Log, max_age: float) -> None:
    crowd = Crowd(log, max_age)
    log.rows = -1

    futures = crowd.arrive() + crowd.arrive(9)
    log.end(2)
    errors = [future.exception() for future in futures]
    counts = log.counts
    log.rows = 7
    log.end()

    assert {(type(error), str(error)) for error in errors} == {(OperationalError, "('unavailable', 'a')")}
    assert len({id(error) for error in errors}) == 10
    assert counts == (1 if max_age else 2)  # without max_age, the later callers call again
    assert crowd.calls("a") == 7


def test_wait_for_a_hung_call_times_out(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_calls, "MAX_WAIT_SECONDS", 0.1)
    crowd = Crowd(log)

    (hanging,) = crowd.arrive()
    with pytest.raises(OperationalError, match=r"no result within 0\.1 s"):
        crowd.calls("a")
    log.end()

    assert hanging.result() == 0


def test_next_caller_calls_after_the_first_was_killed(log: Log) -> None:
    killed, go_on = threading.Event(), threading.Event()

    def count(key: str) -> int:
        if killed.is_set():
            return 5
        killed.set()
        go_on.wait()
        raise SystemExit

    calls = SharedCalls(count, max_age=60)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(calls, "a")
        killed.wait()
        second = pool.submit(calls, "a")
        assert eventually(lambda: calls._slots["a"].users == 2)
        go_on.set()

        assert isinstance(first.exception(), SystemExit)
        assert second.result() == 5


def made_earlier(calls: SharedCalls[str, int], seconds: float) -> None:
    slot = calls._slots["a"]
    assert slot.last
    slot.last = slot.last._replace(time=slot.last.time - seconds)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("calls", "path"), [(probes.checks, "/health"), (metrics_endpoint.gauges, "/metrics")], ids=["readiness", "gauges"]
)
def test_public_endpoints_read_the_database_once_per_second(
    client: Client, monkeypatch: pytest.MonkeyPatch, calls: SharedCalls[None, object], path: str
) -> None:
    reads: list[object] = []
    read = calls._function

    def note(key: None) -> object:
        reads.append(read(key))
        return reads[-1]

    monkeypatch.setattr(calls, "_function", note)

    answers = [client.get(path, headers={"host": "localhost"}).status_code for _ in range(5)]
    a_second_later()
    client.get(path)

    assert answers == [200] * 5
    assert len(reads) == 2
