"""Sharing of the connection pool: reads leave some connections free, so that writes never wait behind reads."""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.core.signals import request_started
from django.db import connection
from psycopg_pool import ConnectionPool

from fizzbuzz.db.deadline import DeadlineConnection

RESERVED_CONNECTIONS = 2

_is_read: ContextVar[bool] = ContextVar("is_read", default=False)


@cache  # not at the import, which may precede the settings
def _read_slots() -> SimpleQueue[None]:
    """Return a queue of the free slots: gevent has a fast queue, but leaves threading's semaphores in Python."""
    slots: SimpleQueue[None] = SimpleQueue()
    for _ in range(max(1, settings.DATABASE_POOL_SIZE - RESERVED_CONNECTIONS)):
        slots.put(None)
    return slots


def acquire_read_slot() -> bool:
    """Take a slot if this request is a read. Return whether it did; the caller must then release the slot.

    Raises psycopg.OperationalError if all slots are taken for too long.
    """
    if not _is_read.get():
        return False
    try:
        _read_slots().get(timeout=settings.DATABASE_POOL_TIMEOUT_SECONDS)
    except Empty:
        raise psycopg.OperationalError("all connections for reads are in use") from None
    return True


def release_read_slot() -> None:
    _read_slots().put(None)


def verified(pool: ConnectionPool[DeadlineConnection], taken: DeadlineConnection) -> DeadlineConnection:
    """Return this connection of the pool, or another if it does not answer. Raise psycopg.OperationalError.

    A write needs this round trip: without it, a connection that hangs leaves the outcome of the write unknown.
    """
    ends = monotonic() + settings.DATABASE_POOL_TIMEOUT_SECONDS
    while True:
        try:
            pool.check_connection(taken)
        except BaseException as error:
            pool.putconn(taken)
            if not isinstance(error, psycopg.OperationalError) or monotonic() > ends:
                raise
            taken = pool.getconn()
        else:
            return taken


def release_connection() -> None:
    """Return this request's connection to the pool, unless it is in a transaction. The next query takes another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _note_method(environ: dict[str, Any], **more: Any) -> None:
    _is_read.set(environ["REQUEST_METHOD"] in {"GET", "HEAD", "OPTIONS"})


request_started.connect(_note_method)
