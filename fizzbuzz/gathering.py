"""Submissions that arrive at the same time, put into one statement.

Leader and follower: whoever gets the turn first inserts for all that wait; the others find their rows when it
is theirs. Nobody waits for company that isn't here yet, so one alone is served at once, and many cost little more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import OperationalError

Item = TypeVar("Item")
Row = TypeVar("Row")

MOST = 1_000  # items in one statement


class _Waiter(Generic[Item, Row]):
    row: Row
    error: Exception | None = None

    def __init__(self, item: Item) -> None:
        self.item = item


class Gatherer(Generic[Item, Row]):
    """Calls `insert` with the items of all who wait; it answers a row for each, in their order, or raises for all."""

    def __init__(self, insert: Callable[[list[Item]], list[Row]], seconds: float) -> None:
        self._insert = insert
        self._seconds = seconds
        self._turn = threading.Lock()
        self._waiting: list[_Waiter[Item, Row]] = []

    def insert(self, item: Item) -> Row:
        """The item's row, once it is committed.

        Raises what the statement raised that held it, or OperationalError after `seconds` without a turn;
        then nothing was sent.
        """
        waiter = _Waiter[Item, Row](item)
        self._waiting.append(waiter)
        if not self._turn.acquire(timeout=self._seconds):
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                raise OperationalError(f"no turn to insert within {self._seconds} s")
            self._turn.acquire()  # it is on its way, and will be told what became of it
        try:
            if waiter in self._waiting:
                self._lead()
        finally:
            self._turn.release()
        if waiter.error:
            raise waiter.error
        return waiter.row

    def _lead(self) -> None:
        time.sleep(0)  # those who are ready to run come aboard; alone, it costs nothing
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            rows = self._insert([each.item for each in batch])
        except Exception as error:  # noqa: BLE001 - each of them raises it
            for each in batch:
                each.error = error
        else:
            for each, row in zip(batch, rows, strict=True):
                each.row = row
