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
Failure = NotRecorded | OutcomeUnknown

MAX_ITEMS_PER_STATEMENT = 1_000


class GroupCommit(Generic[Item, Row]):
    """Calls `execute` with the items of all waiting callers. It returns a row per item, in order, or raises for all.

    `execute` runs in one thread (in a worker: a greenlet), which the first item starts. So an interrupted caller
    (GreenletExit, gevent.Timeout, KeyboardInterrupt) ends only its own wait, not the statement or other callers' waits.
    """

    def __init__(self, execute: Callable[[list[Item]], list[Row]], timeout_seconds: float) -> None:
        self._execute = execute
        self._timeout_seconds = timeout_seconds
        # Items by the queue for their caller's answer. The thread pops an item to send it, its caller to withdraw it:
        # `pop` is atomic, so only one of them gets it.
        self._waiting: dict[SimpleQueue[Row | Failure], Item] = {}
        self._arrived = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, item: Item) -> Row:
        """Return the item's row once it is committed.

        Raise NotRecorded or OutcomeUnknown, as `execute` does (any other error of it is OutcomeUnknown), or NotRecorded
        if no statement took the item within the timeout.
        """
        queue: SimpleQueue[Row | Failure] = SimpleQueue()
        try:
            self._waiting[queue] = item
            self._wake()
            answer = queue.get(timeout=self._timeout_seconds)
        except Empty:
            if self._waiting.pop(queue, None) is not None:
                raise NotRecorded(f"No statement took this item within {self._timeout_seconds} s") from None
            answer = queue.get()  # part of a statement, which has its own timeout
        finally:
            self._waiting.pop(queue, None)  # if this caller was interrupted
        if isinstance(answer, Failure):
            raise type(answer)(*answer.args) from answer.__cause__  # each caller has its own traceback
        return answer

    def _wake(self) -> None:
        self._arrived.set()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # a fork does not copy the thread
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                time.sleep(0)  # yield once, so that runnable greenlets can join this batch
                queues = list(self._waiting)[:MAX_ITEMS_PER_STATEMENT]
                taken = [(queue, self._waiting.pop(queue, None)) for queue in queues]
                if sent := [(queue, item) for queue, item in taken if item is not None]:
                    self._commit(sent)

    def _commit(self, sent: list[tuple[SimpleQueue[Row | Failure], Item]]) -> None:
        try:
            for (queue, _), row in zip(sent, self._execute([item for _, item in sent]), strict=True):
                queue.put(row)
        except BaseException as error:  # noqa: BLE001 - raised in the callers; this thread must not end
            outcome = error if isinstance(error, Failure) else OutcomeUnknown(repr(error))
            for queue, _ in sent:
                queue.put(outcome)
