"""Shared calls: how current a result is, and what its concurrent callers get."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from unittest.mock import Mock

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


class Crowd:
    """Threads that call one function. It returns `rows` or raises `error` of its begin when the test calls `end`."""

    def __init__(self, max_age: float) -> None:
        self.rows = self.counts = 0
        self.error: BaseException | None = None
        self.calls = SharedCalls(self._count, max_age)
        self._end = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(20)

    def _count(self, key: str) -> int:
        rows, error = self.rows, self.error
        self.counts += 1
        self._end.acquire()
        if error:
            raise error
        return rows

    def end(self, times: int = 1) -> None:
        self._end.release(times)

    def arrive(self, times: int = 1, name: str = "a") -> list[Future[int]]:
        """Call from new threads; return when all of them run or wait."""
        key = Key(name)
        key.seen = set()
        futures = [self._pool.submit(self.calls, key) for _ in range(times)]
        assert eventually(lambda: len(key.seen) == times)
        assert eventually(lambda: self.counts > 0)
        return futures


@pytest.fixture
def crowd(request: pytest.FixtureRequest) -> Iterator[Crowd]:
    crowd = Crowd(getattr(request, "param", 0))
    yield crowd
    crowd.end(100)


kept_for_a_minute = pytest.mark.parametrize("crowd", [60], indirect=True)


def results(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in futures]


def test_caller_never_gets_the_result_of_a_call_that_began_before_it(crowd: Crowd) -> None:
    first = crowd.arrive()
    crowd.rows = 1  # committed and acknowledged while the first read runs
    others = crowd.arrive(10)
    crowd.end(2)

    assert results(first) == [0]
    assert results(others) == [1] * 10
    assert crowd.counts == 2


def test_keys_do_not_share_calls(crowd: Crowd) -> None:
    one, other = crowd.arrive(name="a"), crowd.arrive(name="b")
    assert eventually(lambda: crowd.counts == 2)
    crowd.end(2)

    assert results(one + other) == [0, 0]


def test_no_key_is_kept_without_a_maximum_age(crowd: Crowd) -> None:
    crowd.end(1_000)

    for number in range(1_000):
        crowd.calls(str(number))

    assert len(crowd.calls._slots) == 0


@kept_for_a_minute
def test_result_is_returned_until_max_age(crowd: Crowd) -> None:
    crowd.end(2)

    first, crowd.rows = crowd.calls("a"), 1
    later(59)
    again = crowd.calls("a")
    later(1)

    assert (first, again, crowd.calls("a")) == (0, 0, 1)
    assert crowd.counts == 2


@kept_for_a_minute
def test_age_counts_from_the_begin_of_the_call(crowd: Crowd) -> None:
    slow = crowd.arrive()
    crowd.rows = 1
    later(60)
    crowd.end()
    assert results(slow) == [0]
    crowd.end()

    assert crowd.calls("a") == 1


@kept_for_a_minute
def test_call_is_shared_by_all_waiting_callers(crowd: Crowd) -> None:
    crowd.end()
    crowd.calls("a")
    later(60)

    crowd.rows = 1
    futures = crowd.arrive(10)
    crowd.end()

    assert results(futures) == [1] * 10
    assert crowd.counts == 2


@pytest.mark.parametrize("crowd", [0, 60], indirect=True)
@pytest.mark.parametrize("error", [OperationalError("unavailable"), SystemExit()])
def test_next_caller_calls_after_one_failed_or_was_killed(crowd: Crowd, error: BaseException) -> None:
    crowd.error = error

    failing = crowd.arrive()
    crowd.error, crowd.rows = None, 7
    others = crowd.arrive(9)
    crowd.end(2)

    assert failing[0].exception() is error
    assert results(others) == [7] * 9
    assert crowd.counts == 2


def test_wait_for_a_hung_call_times_out(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_calls, "MAX_WAIT_SECONDS", 0.1)

    (hanging,) = crowd.arrive()
    with pytest.raises(OperationalError, match=r"no result within 0\.1 s"):
        crowd.calls("a")
    crowd.end()

    assert hanging.result() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("calls", "path"), [(monitoring.checks, "/health"), (monitoring.gauges, "/metrics")], ids=["readiness", "gauges"]
)
def test_public_endpoints_read_the_database_once_per_second(
    client: Client, monkeypatch: pytest.MonkeyPatch, calls: SharedCalls[object], path: str
) -> None:
    read = Mock(wraps=calls._function)
    monkeypatch.setattr(calls, "_function", read)
    monkeypatch.setattr(calls, "_max_age", 60)  # five requests may take a second

    answers = [client.get(path, headers={"host": "localhost"}).status_code for _ in range(5)]
    later(60)
    client.get(path)

    assert answers == [200] * 5
    assert read.call_count == 2
