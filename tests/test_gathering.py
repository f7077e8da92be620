from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.db import OperationalError

from fizzbuzz import gathering
from fizzbuzz.gathering import Gatherer
from tests.service import eventually


class Database:
    """Answers a statement when it is told to: with ten times each item, or with an error for an item of -1."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self._answer = threading.Semaphore(0)

    def insert(self, items: list[int]) -> list[int]:
        self.statements.append(items)
        self._answer.acquire()
        if -1 in items:
            raise ValueError(f"refused {items}")
        return [10 * item for item in items]

    def answer(self, times: int = 1) -> None:
        self._answer.release(times)


class Crowd:
    def __init__(self, database: Database, seconds: float = 60) -> None:
        self.database = database
        self.gatherer = Gatherer(database.insert, seconds)
        self._pool = ThreadPoolExecutor(20)

    def insert(self, *items: int) -> list[Future[int]]:
        """Each from a thread of its own, when all before are known to wait."""
        return [self._insert(item) for item in items]

    def _insert(self, item: int) -> Future[int]:
        leads = not self.gatherer._led
        before = len(self.database.statements if leads else self.gatherer._waiting)
        future = self._pool.submit(self.gatherer.insert, item)
        assert eventually(lambda: len(self.database.statements if leads else self.gatherer._waiting) > before)
        return future


def test_one_alone_is_inserted_at_once() -> None:
    database = Database()
    database.answer()

    assert Gatherer(database.insert, 60).insert(1) == 10
    assert database.statements == [[1]]


def test_those_who_wait_share_a_statement() -> None:
    crowd = Crowd(database := Database())

    futures = crowd.insert(1, 2, 2, 3)
    database.answer(2)

    assert [future.result() for future in futures] == [10, 20, 20, 30]
    assert database.statements == [[1], [2, 2, 3]]


def test_failing_statement_fails_its_own_alone() -> None:
    crowd = Crowd(database := Database())

    (first,) = crowd.insert(1)
    failing = crowd.insert(-1, 2)
    database.answer()
    assert first.result() == 10
    assert eventually(lambda: len(database.statements) == 2)
    later = crowd.insert(3)
    database.answer(2)

    for future in failing:
        with pytest.raises(ValueError, match=r"refused \[-1, 2\]"):
            future.result()
    assert later[0].result() == 30


def test_statement_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST", 2)
    crowd = Crowd(database := Database())

    futures = crowd.insert(1, 2, 3, 4)
    database.answer(3)

    assert [future.result() for future in futures] == [10, 20, 30, 40]
    assert database.statements == [[1], [2, 3], [4]]


def test_who_gets_no_turn_is_told_and_nothing_is_sent() -> None:
    crowd = Crowd(database := Database(), seconds=0.2)

    (first,) = crowd.insert(1)
    (second,) = crowd.insert(2)
    with pytest.raises(OperationalError, match=r"no turn to insert within 0\.2 s"):
        second.result()
    database.answer()

    assert first.result() == 10
    assert database.statements == [[1]]


def test_who_is_on_the_way_is_waited_for() -> None:
    crowd = Crowd(database := Database(), seconds=0.5)

    (first,) = crowd.insert(1)
    second, third = crowd.insert(2, 3)
    database.answer()
    assert first.result() == 10
    assert eventually(lambda: database.statements == [[1], [2, 3]])
    threading.Event().wait(1)  # longer than the patience of the one who follows
    database.answer()

    assert (second.result(), third.result()) == (20, 30)


def test_who_is_stopped_while_inserting_hands_over() -> None:
    stopped, waiting = threading.Event(), threading.Event()

    def insert(items: list[int]) -> list[int]:
        if items == [1]:
            stopped.set()
            waiting.wait()
            raise SystemExit
        return items

    gatherer = Gatherer(insert, 60)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(gatherer.insert, 1)
        stopped.wait()
        second = pool.submit(gatherer.insert, 2)
        assert eventually(lambda: bool(gatherer._waiting))
        waiting.set()

        assert isinstance(first.exception(), SystemExit)
        assert second.result() == 2


def test_who_is_stopped_while_waiting_is_not_told_to_lead() -> None:
    crowd = Crowd(database := Database())

    (first,) = crowd.insert(1)
    crowd.gatherer._seconds = -2  # no lock waits so long: it raises, as a kill does
    with pytest.raises(ValueError, match="timeout"):
        crowd.gatherer.insert(2)
    crowd.gatherer._seconds = 60
    database.answer(2)

    assert first.result() == 10
    assert crowd.gatherer.insert(3) == 30
    assert database.statements == [[1], [3]]
