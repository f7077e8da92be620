"""Waits for locks with a timeout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper


class LockTimeout(Exception):
    """A lock could not be acquired in time."""


@contextmanager
def lock_timeout(cursor: CursorWrapper, seconds: float) -> Iterator[None]:
    """Wait at most so long for each lock, until the transaction ends. Raise LockTimeout."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise LockTimeout from error
        raise
