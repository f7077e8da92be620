"""How requests share the pool: reads leave a part of it to writes, and nobody holds a connection for long.

Folds, batches and submissions with a key so never wait behind reads.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from threading import BoundedSemaphore
from typing import Any

import psycopg
from django.conf import settings
from django.core.signals import request_started
from django.db import connection

RESERVED_CONNECTIONS = 2

_is_read: ContextVar[bool] = ContextVar("is_read", default=False)


@cache
def _read_slots() -> BoundedSemaphore:
    return BoundedSemaphore(max(1, settings.DATABASE_POOL_SIZE - RESERVED_CONNECTIONS))


def acquire_read_slot() -> bool:
    """Whether this request reads, and so holds a slot, which it must release with its connection.

    Raises psycopg.OperationalError.
    """
    if not _is_read.get():
        return False
    if not _read_slots().acquire(timeout=settings.DATABASE_POOL_TIMEOUT_SECONDS):
        raise psycopg.OperationalError("all connections that reads may use are in use")
    return True


def release_read_slot() -> None:
    _read_slots().release()


def release_connection() -> None:
    """Give this request's connection back, unless a transaction needs it. The next query takes another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _note_method(environ: dict[str, Any], **more: Any) -> None:
    _is_read.set(environ["REQUEST_METHOD"] in {"GET", "HEAD", "OPTIONS"})


request_started.connect(_note_method)
