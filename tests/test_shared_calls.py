"""Shared calls: how current a result is, and what its concurrent callers get."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import OperationalError
from django.test import Client

from fizzbuzz import shared_calls
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz_site.http import monitoring
from tests.fresh import later
from tests.service import eventually


class Key(str):  # noqa: SLOT000 - it has an attribute
    """Notes the threads that look it up, which they do once they have arrived."""

    seen: set[int]

    def __hash__(self) -> int:
        self.seen.add(threading.get_ident())
        return super().__hash__()


class Log:
    """Function under test: returns `rows`, or raises `error`, when the test calls `end`."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts = 0
        self.error: BaseException | None = None
        self._end = threading.Semaphore(0)

    def count(self, key: str) -> int:
        rows, error = self.rows, self.error  # the snapshot
        self.counts += 1
        self._end.acquire()
        if error:
            raise error
        return rows

    def end(self, times: int = 1) -> None:
        self._end.release(times)


class Crowd:
    def __init__(self, log: Log, max_age: float = 0) -> None:
        self.calls = SharedCalls(log.count, max_age)
        self._log = log
        self._pool = ThreadPoolExecutor(20)

    def arrive(self, times: int = 1, name: str = "a") -> list[Future[int]]:
        """Call from new threads; return when all of them run or wait."""
        key = Key(name)
        key.seen = set()
        futures = [self._pool.submit(self.calls, key) for _ in range(times)]
        assert eventually(lambda: len(key.seen) == times)
        assert eventually(lambda: self._log.counts > 0)
        return futures


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
    others = crowd.arrive(10)
    log.end(2)

    assert results(first) == [0]
    assert results(others) == [1] * 10
    assert log.counts == 2


def test_keys_do_not_share_calls(log: Log) -> None:
    crowd = Crowd(log)

    one, other = crowd.arrive(name="a"), crowd.arrive(name="b")
    assert eventually(lambda: log.counts == 2)
    log.end(2)

    assert results(one + other) == [0, 0]


def test_no_key_is_kept_without_a_maximum_age(log: Log) -> None:
    log.end(1_000)
    calls = SharedCalls(log.count)

    for number in range(1_000):
        calls(str(number))

    assert len(calls._slots) == 0


def test_result_is_returned_until_max_age(log: Log) -> None:
    calls = SharedCalls(log.count, max_age=60)
    log.end(2)

    first, log.rows = calls("a"), 1
    later(59)
    again = calls("a")
    later(1)

    assert (first, again, calls("a")) == (0, 0, 1)
    assert log.counts == 2


def test_age_counts_from_the_begin_of_the_call(log: Log) -> None:
    crowd = Crowd(log, max_age=60)

    slow = crowd.arrive()
    log.rows = 1
    later(60)
    log.end()
    assert results(slow) == [0]
    log.end()

    assert crowd.calls("a") == 1


def test_call_is_shared_by_all_waiting_callers(log: Log) -> None:
    crowd = Crowd(log, max_age=60)
    log.end()
    crowd.calls("a")
    later(60)

    log.rows = 1
    futures = crowd.arrive(10)
    log.end()

    assert results(futures) == [1] * 10
    assert log.counts == 2


@pytest.mark.parametrize("max_age", [0, 60])
@pytest.mark.parametrize("error", [OperationalError("unavailable"), SystemExit()])
def test_next_caller_calls_after_one_failed_or_was_killed(log: Log, max_age: float, error: BaseException) -> None:
    crowd = Crowd(log, max_age)
    log.error = error

    failing = crowd.arrive()
    log.error, log.rows = None, 7
    others = crowd.arrive(9)
    log.end(2)

    assert failing[0].exception() is error
    assert results(others) == [7] * 9
    assert log.counts == 2


def test_wait_for_a_hung_call_times_out(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_calls, "MAX_WAIT_SECONDS", 0.1)
    crowd = Crowd(log)

    (hanging,) = crowd.arrive()
    with pytest.raises(OperationalError, match=r"no result within 0\.1 s"):
        crowd.calls("a")
    log.end()

    assert hanging.result() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("calls", "path"), [(monitoring.checks, "/health"), (monitoring.gauges, "/metrics")], ids=["readiness", "gauges"]
)
def test_public_endpoints_read_the_database_once_per_second(
    client: Client, monkeypatch: pytest.MonkeyPatch, calls: SharedCalls[object], path: str
) -> None:
    reads: list[object] = []
    read = calls._function

    def note() -> object:
        reads.append(read())
        return reads[-1]

    monkeypatch.setattr(calls, "_function", note)
    monkeypatch.setattr(calls, "_max_age", 60)  # five requests may take a second

    answers = [client.get(path, headers={"host": "localhost"}).status_code for _ in range(5)]
    later(60)
    client.get(path)

    assert answers == [200] * 5
    assert len(reads) == 2
