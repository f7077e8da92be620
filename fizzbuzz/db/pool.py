"""Connections of a web worker: one pool for reads, and one for all else, so that neither waits for the other."""

from collections.abc import Callable
from functools import cache
from time import monotonic

import psycopg
from django.conf import settings
from django.db import connection
from psycopg_pool import ConnectionPool

from fizzbuzz.db.deadline import DeadlineConnection

DEADLINE_SECONDS = 10.0  # per step of a request


class Pool(ConnectionPool[DeadlineConnection]):
    """Up to `size` connections. One that waits for a response beyond its deadline counts until it gets it."""

    def __init__(self, size: int, verify: Callable[[DeadlineConnection], None]) -> None:
        super().__init__(
            # Called for each new connection: the path of the embedded server's socket may change.
            kwargs=lambda: (
                connection.get_connection_params() | {"autocommit": True, "deadline_seconds": DEADLINE_SECONDS}
            ),
            connection_class=DeadlineConnection,
            min_size=1,
            max_size=size,
            timeout=settings.DATABASE_POOL_TIMEOUT_SECONDS,
            reconnect_timeout=settings.DATABASE_POOL_TIMEOUT_SECONDS,  # after it, the next request connects at once
            open=False,
        )
        self._verify = verify
        self._waiting_for_response: list[DeadlineConnection] = []

    def getconn(self, timeout: float | None = None) -> DeadlineConnection:
        """Return a connection that was not lost. Raise psycopg.OperationalError.

        The pool's own check would sleep for a second after the second lost connection.
        """
        self.open()
        self._close_answered()
        if len(self._waiting_for_response) == self.max_size:
            raise psycopg.OperationalError("all connections wait for a response of PostgreSQL")
        ends = monotonic() + self.timeout
        while True:
            taken = super().getconn(timeout)
            try:
                self._verify(taken)
            except BaseException as error:
                self.putconn(taken)
                if not isinstance(error, psycopg.OperationalError) or monotonic() > ends:
                    raise
            else:
                return taken

    def putconn(self, conn: DeadlineConnection) -> None:
        if conn.is_waiting:
            self._waiting_for_response.append(conn)
        else:
            super().putconn(conn)

    def __del__(self) -> None:
        """Do not wait for the pool's threads at the exit of the process, when gevent can't."""

    def _close_answered(self) -> None:
        for each in list(self._waiting_for_response):
            if not each.is_waiting:
                self._waiting_for_response.remove(each)
                each.close()
                self.putconn(each)


@cache
def reads() -> Pool:
    """Return the pool of `reader`. It checks connections without a round trip."""
    return Pool(settings.DATABASE_POOL_SIZE // 2, _raise_if_lost)


@cache
def writes() -> Pool:
    """Return Django's pool.

    Writes need a round trip before them: without it, a connection that hangs leaves the outcome of the write unknown.
    """
    return Pool(settings.DATABASE_POOL_SIZE - settings.DATABASE_POOL_SIZE // 2, ConnectionPool.check_connection)


def release_connection() -> None:
    """Return this request's connection to the pool, unless it is in a transaction. The next query takes another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _raise_if_lost(taken: DeadlineConnection) -> None:
    if taken.is_lost():
        raise psycopg.OperationalError("the server closed the connection")
