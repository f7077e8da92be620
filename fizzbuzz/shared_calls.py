"""Sharing of one call's result among concurrent callers in a process."""

import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Generic, TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

from django.db import OperationalError

Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")

clock = time.monotonic  # tests put it forward
MAX_WAIT_SECONDS = 5.0  # for the call of another thread or greenlet


class _Slot(Generic[Value]):
    """The last result of a call with the same arguments, and the lock that is held during a call."""

    value: Value
    began = ended = float("-inf")

    def __init__(self) -> None:
        self.calling = threading.Lock()


class SharedCalls(Generic[Value, *Arguments]):
    """Calls `function` for one caller at a time, and returns the result to all concurrent callers with its arguments.

    Without `max_age`, a caller gets the result of a call that began after the caller arrived, so the result is as
    current as that of a call of its own. With `max_age`, it gets the result of a call that began at most `max_age`
    seconds before the caller arrived, or that ended after its arrival. The last result for each combination of
    arguments is kept, so there must be few.

    If a call fails, the next of the waiting callers calls again.
    Raises OperationalError if a caller waits longer than MAX_WAIT_SECONDS.
    """

    def __init__(self, function: Callable[[*Arguments], Value], max_age: float = 0) -> None:
        self._function = function
        self._max_age = max_age
        # Without max_age, a slot lives as long as its callers.
        self._slots: MutableMapping[tuple[*Arguments], _Slot[Value]] = {} if max_age else WeakValueDictionary()
        self._guard = threading.Lock()  # protects _slots

    def __call__(self, *arguments: *Arguments) -> Value:
        arrived = clock()
        with self._guard:
            slot = self._slots.setdefault(arguments, _Slot())
        if arrived - slot.began < self._max_age:
            return slot.value
        if not slot.calling.acquire(timeout=MAX_WAIT_SECONDS):
            raise OperationalError(f"no result within {MAX_WAIT_SECONDS} s")
        try:
            if (slot.ended if self._max_age else slot.began) < arrived:
                began = clock()
                slot.value = self._function(*arguments)
                slot.began, slot.ended = began, clock()
            return slot.value
        finally:
            slot.calling.release()
