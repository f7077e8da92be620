"""Limits on concurrent expensive operations, so that one kind of request cannot take a whole process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

RETRY_AFTER_SECONDS = 5


class Busy(Exception):
    """The limit is reached. Error handlers turn this into 429 with Retry-After."""

    status = 429


class Bulkhead:
    """Semaphore for `limit` callers at a time. Others wait up to `wait_seconds` and then get Busy."""

    def __init__(self, what: str, limit: int, wait_seconds: float) -> None:
        self._what = what
        self._wait_seconds = wait_seconds
        self._free = BoundedSemaphore(limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the slots. Raise Busy if none gets free in time."""
        if not self._free.acquire(timeout=self._wait_seconds):
            raise Busy(f"Too many {self._what} at the moment. Try again in {RETRY_AFTER_SECONDS} s.")
        try:
            yield
        finally:
            self._free.release()
