"""Group commit: items that arrive while a statement runs share the next statement.

A single item is sent at once. Many concurrent items cost little more than one.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from fizzbuzz.submissions.outcomes import NotRecorded, OutcomeUnknown

Item = TypeVar("Item")
Row = TypeVar("Row")

MAX_ITEMS_PER_STATEMENT = 1_000


class _Pending(Generic[Item, Row]):
    """An item whose caller is waiting for its row.

    The thread sets `taken` before it reads `withdrawn`; the caller sets `withdrawn` before it reads `taken`. So at
    least one of them sees the other's flag, and an item is never sent after its caller was told that it was not.
    """

    taken = withdrawn = False

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: SimpleQueue[Row | NotRecorded | OutcomeUnknown] = SimpleQueue()

    def take(self) -> bool:
        """Return whether to send the item. If not, answer its caller, which may have seen `taken`."""
        self.taken = True
        if self.withdrawn:
            self.answer.put(NotRecorded("The item was withdrawn"))
            return False
        return True


class GroupCommit(Generic[Item, Row]):
    """Calls `execute` with the items of all waiting callers. It returns a row per item, in order, or raises for all.

    `execute` runs in one thread (in a worker: a greenlet), which the first item starts. So an interrupted caller
    (GreenletExit, gevent.Timeout, KeyboardInterrupt) ends only its own wait, not the statement or other callers' waits.
    """

    def __init__(self, execute: Callable[[list[Item]], list[Row]], timeout_seconds: float) -> None:
        self._execute = execute
        self._timeout_seconds = timeout_seconds
        self._waiting: SimpleQueue[_Pending[Item, Row]] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, item: Item) -> Row:
        """Return the item's row once it is committed.

        Raise NotRecorded or OutcomeUnknown, as `execute` does (any other error of it is OutcomeUnknown), or NotRecorded
        if no statement took the item within the timeout.
        """
        pending = _Pending[Item, Row](item)
        answer = None
        try:
            self._start()
            self._waiting.put(pending)
            answer = pending.answer.get(timeout=self._timeout_seconds)
        except Empty:
            pass
        finally:
            pending.withdrawn = True
        if answer is None and pending.taken:
            answer = pending.answer.get()  # part of a statement, which has its own timeout
        if answer is None:
            raise NotRecorded(f"No statement took this item within {self._timeout_seconds} s")
        if isinstance(answer, NotRecorded | OutcomeUnknown):
            raise type(answer)(*answer.args) from answer.__cause__  # each caller has its own traceback
        return answer

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # a fork does not copy the thread
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            taken = [self._waiting.get()]
            time.sleep(0)  # yield once, so that runnable greenlets can join this batch
            while len(taken) < MAX_ITEMS_PER_STATEMENT and not self._waiting.empty():
                taken.append(self._waiting.get())
            if sent := [each for each in taken if each.take()]:
                self._commit(sent)

    def _commit(self, sent: list[_Pending[Item, Row]]) -> None:
        try:
            for each, row in zip(sent, self._execute([each.item for each in sent]), strict=True):
                each.answer.put(row)
        except BaseException as error:  # noqa: BLE001 - raised in the callers; this thread must not end
            outcome = error if isinstance(error, NotRecorded | OutcomeUnknown) else OutcomeUnknown(repr(error))
            for each in sent:
                each.answer.put(outcome)
