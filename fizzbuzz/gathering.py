"""Submissions that arrive at the same time, put into one statement.

Leader and followers: whoever comes first inserts for all that wait; the others sleep until their rows are there,
or until one of them is told to lead. Nobody waits for company that isn't here yet, so one alone is served at once,
and many cost little more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from fizzbuzz.outcomes import NotRecorded

Item = TypeVar("Item")
Row = TypeVar("Row")

MOST = 1_000  # items in one statement


class _Waiter(Generic[Item, Row]):
    row: Row
    error: BaseException | None = None
    leads = False

    def __init__(self, item: Item) -> None:
        self.item = item
        self.called = threading.Lock()  # held until there is news
        self.called.acquire()


class Gatherer(Generic[Item, Row]):
    """Calls `insert` with the items of all who wait; it answers a row for each, in their order, or raises for all."""

    def __init__(self, insert: Callable[[list[Item]], list[Row]], seconds: float) -> None:
        self._insert = insert
        self._seconds = seconds
        self._guard = threading.Lock()  # of the two below; held for moments
        self._waiting: list[_Waiter[Item, Row]] = []
        self._led = False

    def insert(self, item: Item) -> Row:
        """The item's row, once it is committed.

        Raises what the statement raised that held it, or NotRecorded after `seconds` without a turn.
        """
        waiter = _Waiter[Item, Row](item)
        with self._guard:
            self._waiting.append(waiter)
            waiter.leads, self._led = not self._led, True
        if not waiter.leads:
            try:
                self._follow(waiter)
            except BaseException:  # ended by a kill, say: it must not be told to lead, or it has been
                self._leave(waiter)
                raise
        if waiter.leads:
            self._lead()
        if waiter.error:
            raise waiter.error
        return waiter.row

    def _follow(self, waiter: _Waiter[Item, Row]) -> None:
        if waiter.called.acquire(timeout=self._seconds):
            return
        with self._guard:
            if not waiter.leads and waiter in self._waiting:
                self._waiting.remove(waiter)
                raise NotRecorded(f"no turn to insert within {self._seconds} s")
        waiter.called.acquire()  # it is on its way, and will be told what became of it

    def _leave(self, waiter: _Waiter[Item, Row]) -> None:
        with self._guard:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        if waiter.leads:
            self._hand_over()

    def _lead(self) -> None:
        batch = []
        try:
            time.sleep(0)  # those who are ready to run come aboard; alone, it costs nothing
            with self._guard:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            for each, row in zip(batch, self._insert([each.item for each in batch]), strict=True):
                each.row = row
        except BaseException as error:  # noqa: BLE001 - each of them raises it
            for each in batch:
                each.error = error
        finally:
            self._hand_over()
            for each in batch:
                each.called.release()

    def _hand_over(self) -> None:
        with self._guard:
            self._led = bool(self._waiting)
            if self._led:
                self._waiting[0].leads = True
                self._waiting[0].called.release()
