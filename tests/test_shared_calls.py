"""Shared calls: how current a result is, and what its concurrent callers get."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from unittest.mock import Mock

import pytest
from django.db import OperationalError
from django.test import Client

from fizzbuzz import shared_calls
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz_site.http import monitoring
from tests.fresh import later
from tests.service import TIMEOUT_SECONDS, eventually


class Key(str):  # noqa: SLOT000 - it has an attribute
    """Notes the threads that look it up, which they do once they have arrived."""

    seen: set[int]

    def __hash__(self) -> int:
        self.seen.add(threading.get_ident())
        return super().__hash__()


class Crowd:
    """Threads that call one function. It returns `rows` of its begin when the test calls `end`, or is killed."""

    def __init__(self, max_age: float = 0) -> None:
        self.rows: int | None = 0
        self.counts = 0
        self.calls = SharedCalls(self._count, max_age)
        self._ends = threading.Semaphore(0)
        self.end = self._ends.release
        self._pool = ThreadPoolExecutor(20)

    def _count(self, key: str) -> int:
        rows = self.rows
        self.counts += 1
        self._ends.acquire(timeout=TIMEOUT_SECONDS)
        if rows is None:
            raise SystemExit
        return rows

    def arrive(self, times: int = 1, name: str = "a") -> list[Future[int]]:
        """Call from new threads; return when all of them run or wait."""
        key = Key(name)
        key.seen = set()
        futures = [self._pool.submit(self.calls, key) for _ in range(times)]
        assert eventually(lambda: len(key.seen) == times and self.counts > 0)
        return futures


def results(futures: list[Future[int]]) -> list[int]:
    return [future.result() for future in futures]


def test_caller_never_gets_the_result_of_a_call_that_began_before_it() -> None:
    crowd = Crowd()
    first = crowd.arrive()
    crowd.rows = 1  # committed and acknowledged while the first read runs
    others = crowd.arrive(10)
    of_another_key = crowd.arrive(name="b")
    assert eventually(lambda: crowd.counts == 2)  # it does not wait for the first
    crowd.end(3)

    assert (results(first), results(others + of_another_key)) == ([0], [1] * 11)
    assert crowd.counts == 3
    assert len(crowd.calls._slots) == 0  # no key is kept


def test_result_is_returned_for_max_age_from_the_begin_of_its_call() -> None:
    crowd = Crowd(max_age=60)
    slow = crowd.arrive()
    crowd.rows = 1
    later(60)
    crowd.end()
    assert results(slow) == [0]

    shared = crowd.arrive(10)
    crowd.end()
    assert results(shared) == [1] * 10

    crowd.rows = 2
    later(59)
    assert crowd.calls("a") == 1
    later(1)
    crowd.end()
    assert (crowd.calls("a"), crowd.counts) == (2, 3)


@pytest.mark.parametrize("max_age", [0, 60])
def test_next_caller_calls_after_one_was_killed(max_age: float) -> None:
    crowd = Crowd(max_age)
    crowd.rows = None
    (killed,) = crowd.arrive()
    crowd.rows = 7
    others = crowd.arrive(9)
    crowd.end(2)

    assert isinstance(killed.exception(), SystemExit)
    assert results(others) == [7] * 9
    assert crowd.counts == 2


def test_wait_for_a_hung_call_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_calls, "MAX_WAIT_SECONDS", 0.1)
    crowd = Crowd()
    crowd.arrive()

    with pytest.raises(OperationalError, match=r"no result within 0\.1 s"):
        crowd.calls("a")
    crowd.end()


@pytest.mark.django_db
@pytest.mark.parametrize(("calls", "path"), [(monitoring.checks, "/health"), (monitoring.gauges, "/metrics")])
def test_public_endpoints_read_the_database_once_per_second(
    client: Client, monkeypatch: pytest.MonkeyPatch, calls: SharedCalls[object], path: str
) -> None:
    read = Mock(wraps=calls._function)
    monkeypatch.setattr(calls, "_function", read)
    monkeypatch.setattr(calls, "_max_age", 60)  # two requests may take a second

    answers = [client.get(path) for _ in range(2)]
    later(60)
    answers.append(client.get(path))

    assert [answer.status_code for answer in answers] == [200] * 3
    assert read.call_count == 2
