"""Sharing of one call's result among concurrent callers in a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from django.db import OperationalError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MAX_WAIT_SECONDS = 5.0  # for the call of another thread or greenlet


class _Result(NamedTuple, Generic[Value]):
    value: Value | None
    error: Exception | None
    time: float  # its age counts from here

    def get(self) -> Value:
        if self.error:
            raise _copied(self.error)
        return self.value  # type: ignore[return-value]  # there is no error


class _Slot(Generic[Value]):
    """The last result of one key, and the lock that is held during a call."""

    last: _Result[Value] = _Result(None, None, float("-inf"))

    def __init__(self) -> None:
        self.calling = threading.Lock()
        self.users = 0


class SharedCalls(Generic[Key, Value]):
    """Calls `function` for one caller per key at a time, and returns the result to all concurrent callers.

    Without `max_age`, a caller gets the result of a call that began after the caller arrived, so the result is as
    current as that of a call of its own. With `max_age`, it gets any result that is at most `max_age` seconds old.
    During the next call, callers get the last result until it is twice that old; then they wait for the call. The
    last result of each key is kept, so there must be few keys.

    If a call fails, all callers that waited for it raise a copy of the error; the next caller calls again.
    Raises OperationalError if a caller waits longer than MAX_WAIT_SECONDS.
    """

    def __init__(self, function: Callable[[Key], Value], max_age: float = 0) -> None:
        self._function = function
        self._max_age = max_age
        self._slots: dict[Key, _Slot[Value]] = {}
        self._guard = threading.Lock()  # protects _slots and the counts of their users

    def __call__(self, key: Key) -> Value:
        arrived = monotonic()
        with self._guard:
            slot = self._slots.setdefault(key, _Slot())
            slot.users += 1
        try:
            return self._result(key, slot, arrived)
        finally:
            with self._guard:
                slot.users -= 1
                if not slot.users and not self._max_age:
                    del self._slots[key]

    def _result(self, key: Key, slot: _Slot[Value], arrived: float) -> Value:
        last = slot.last
        age = float("inf") if last.error else arrived - last.time
        if age < self._max_age:
            return last.get()
        stale_is_usable = age < 2 * self._max_age
        if not slot.calling.acquire(timeout=0 if stale_is_usable else MAX_WAIT_SECONDS):
            if stale_is_usable:
                return last.get()
            raise OperationalError(f"no result within {MAX_WAIT_SECONDS} s")
        try:
            if slot.last.time < arrived:
                return self._call(key, slot)
            return slot.last.get()
        finally:
            slot.calling.release()

    def _call(self, key: Key, slot: _Slot[Value]) -> Value:
        begun = monotonic()
        try:
            value = self._function(key)
        except Exception as error:
            # A copy, because the traceback of the original keeps the caller's whole stack alive.
            slot.last = _Result(None, _copied(error), self._time(begun))
            raise
        slot.last = _Result(value, None, self._time(begun))
        return value

    def _time(self, begun: float) -> float:
        # With max_age, a result may be older than the callers that waited for it.
        return monotonic() if self._max_age else begun


def _copied(error: Exception) -> Exception:
    """Return a copy to raise: one instance raised in several threads or greenlets would mix their tracebacks."""
    copied = type(error).__new__(type(error), *error.args)
    copied.__dict__.update(error.__dict__)
    copied.__cause__ = error.__cause__
    return copied
