"""Connections of a web worker: one pool for reads, and one for all else, so that neither waits for the other."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg_pool import ConnectionPool, PoolTimeout

from fizzbuzz.db import faults
from fizzbuzz.db.deadline import DeadlineConnection

DEADLINE_SECONDS = 10.0  # per step of a request


class Pool(ConnectionPool[DeadlineConnection]):
    """Up to `size` connections. One that waits for a response beyond its deadline counts until it gets it."""

    def __init__(self, size: int, *, round_trip: bool) -> None:
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
        self._round_trip = round_trip
        self._waiting_for_response: list[DeadlineConnection] = []

    def getconn(self, timeout: float | None = None) -> DeadlineConnection:
        """Return a connection that was not lost. Raise psycopg.OperationalError.

        The pool's own check would sleep for a second after the second lost connection.
        """
        if self.closed:
            self.open()
        for each in [each for each in self._waiting_for_response if not each.is_waiting]:
            self._waiting_for_response.remove(each)
            each.close()
            self.putconn(each)
        if len(self._waiting_for_response) == self.max_size:
            raise psycopg.OperationalError("all connections wait for a response of PostgreSQL")
        ends = monotonic() + self.timeout
        while True:
            try:
                taken = super().getconn(timeout)
            except PoolTimeout as error:  # it connects in the background, and does not say why it can't
                raise psycopg.OperationalError(DeadlineConnection.failure or str(error)) from None
            try:
                self._verify(taken)
            except BaseException as error:  # also if it is interrupted: a connection that is not put back is lost
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

    def _verify(self, conn: DeadlineConnection) -> None:
        if self._round_trip:
            self.check_connection(conn)
        elif conn.is_lost():
            raise psycopg.OperationalError("the server closed the connection")

    def __del__(self) -> None:
        """Do not wait for the pool's threads at the exit of the process, when gevent can't."""


READS = Pool(settings.DATABASE_POOL_SIZE // 2, round_trip=False)
# Django's. Without a round trip before a write, a connection that hangs would leave its outcome unknown.
WRITES = Pool(settings.DATABASE_POOL_SIZE - settings.DATABASE_POOL_SIZE // 2, round_trip=True)


def read(statement: str, parameters: Mapping[str, Any] | Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that only reads. Raises Django's DatabaseError.

    In a web worker, the statement is prepared, and runs on a connection of READS in its own transaction, without
    Django's work per statement, which would double the CPU time.
    """
    if not settings.IN_WEB_WORKER:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()
    with connection.wrap_database_errors:
        taken = READS.getconn()
        try:
            found = taken.prepared.execute(statement, parameters).fetchall()
        finally:
            READS.putconn(taken)
    faults.end_outage("reads")
    return found


def release_connection() -> None:
    """Return this request's connection to the pool, unless it is in a transaction. The next query takes another."""
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
