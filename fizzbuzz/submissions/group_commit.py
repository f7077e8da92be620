"""Group commit: items that arrive while a statement runs share the next statement.

A single item is sent at once. Many concurrent items cost little more than one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import copy
from typing import Generic, TypeVar

from fizzbuzz.submissions.outcomes import NotRecorded, OutcomeUnknown

Item = TypeVar("Item")
Row = TypeVar("Row")

MAX_ITEMS_PER_STATEMENT = 1_000


class _Pending(Generic[Item, Row]):
    """An item whose caller is waiting for its row."""

    row: Row
    error: Exception | None = None

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = threading.Lock()  # held until the row or the error is set
        self.done.acquire()


class GroupCommit(Generic[Item, Row]):
    """Calls `execute` with the items of all waiting callers. It returns a row per item, in order, or raises for all.

    `execute` runs in one background thread, which the first item starts. So an interrupted caller (GreenletExit,
    gevent.Timeout, KeyboardInterrupt) ends only its own wait, not the statement or the wait of other callers.
    """

    def __init__(self, execute: Callable[[list[Item]], list[Row]], timeout_seconds: float) -> None:
        self._execute = execute
        self._timeout_seconds = timeout_seconds
        self._guard = threading.Lock()  # protects the three attributes below; never held while waiting
        self._waiting: list[_Pending[Item, Row]] = []
        self._idle = True
        self._thread: threading.Thread | None = None
        self._wake = threading.Lock()  # held while the thread has nothing to do
        self._wake.acquire()

    def insert(self, item: Item) -> Row:
        """Return the item's row once it is committed.

        Raise the error of `execute` (a copy for each caller), or NotRecorded if no statement took the item within the
        timeout.
        """
        pending = _Pending[Item, Row](item)
        try:
            self._enqueue(pending)
            answered = pending.done.acquire(timeout=self._timeout_seconds)
            if not answered and not self._withdraw(pending):
                answered = pending.done.acquire()  # part of a running statement, which has its own timeout
        except BaseException:  # e.g. GreenletExit: the caller is gone, so do not send its item
            self._withdraw(pending)
            raise
        if not answered:
            raise NotRecorded(f"No statement took this item within {self._timeout_seconds} s")
        if error := pending.error:
            own = copy(error)
            own.__cause__ = error.__cause__
            raise own.with_traceback(error.__traceback__)
        return pending.row

    def _enqueue(self, pending: _Pending[Item, Row]) -> None:
        with self._guard:
            self._waiting.append(pending)
            if self._thread is None or not self._thread.is_alive():  # a fork does not copy the thread
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()
            if self._idle:
                self._idle = False
                self._wake.release()

    def _withdraw(self, pending: _Pending[Item, Row]) -> bool:
        """Remove the item from the queue. Return False if a statement has already taken it."""
        with self._guard:
            found = pending in self._waiting
            if found:
                self._waiting.remove(pending)
            return found

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            while batch := self._take():
                self._commit(batch)

    def _take(self) -> list[_Pending[Item, Row]]:
        time.sleep(0)  # yield once, so that runnable greenlets can join this batch
        with self._guard:
            batch = self._waiting[:MAX_ITEMS_PER_STATEMENT]
            del self._waiting[:MAX_ITEMS_PER_STATEMENT]
            self._idle = not batch
            return batch

    def _commit(self, batch: list[_Pending[Item, Row]]) -> None:
        try:
            for each, row in zip(batch, self._execute([each.item for each in batch]), strict=True):
                each.row = row
        except BaseException as error:  # noqa: BLE001 - raised in the callers; this thread must not end
            for each in batch:
                each.error = error if isinstance(error, Exception) else OutcomeUnknown(f"interrupted by {error!r}")
        finally:
            for each in batch:
                each.done.release()
