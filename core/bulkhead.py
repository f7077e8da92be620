"""Limits on how many requests of one process do the same costly thing at once, so that the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

RETRY_SECONDS = 5


class Busy(Exception):
    """A limit is reached. Answered with 429 and Retry-After."""


class Bulkhead:
    """Lets `limit` callers in at once; another waits `wait_seconds`, and is then rejected."""

    def __init__(self, what: str, limit: int, wait_seconds: float) -> None:
        self._what = what
        self._wait_seconds = wait_seconds
        self._free = BoundedSemaphore(limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Raises Busy."""
        if not self._free.acquire(timeout=self._wait_seconds):
            raise Busy(f"Too many {self._what} at the moment. Try again in {RETRY_SECONDS} s.")
        try:
            yield
        finally:
            self._free.release()
