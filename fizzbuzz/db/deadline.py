"""psycopg connections with a client-side deadline, and a statement timeout on the server just below it."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cached_property
from threading import Thread
from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import generators, waiting
from psycopg.abc import PQGen
from psycopg.pq.abc import PGcancelConn
from psycopg.waiting import Ready

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 2  # libpq's minimum
CANCEL_TIMEOUT_SECONDS = 2.0
# Of the deadline: the server's error then arrives before it, and proves that nothing was committed.
STATEMENT_TIMEOUT_SHARE = 0.9

# psycopg waits with a selector, which gevent emulates: gevent's own wait takes a third of the CPU time.
GEVENT = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("select")
if GEVENT:
    from gevent import get_hub
    from gevent.socket import wait as wait_on


class DeadlineConnection(psycopg.Connection[tuple[Any, ...]]):
    """Connection that is closed when a step exceeds its deadline: a hung server cannot enforce statement_timeout."""

    deadline_seconds = 10.0

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Connect, after looking up the embedded server's socket again: it may have been lost and restored."""
        if "host" in kwargs and settings.EMBEDDED:
            kwargs["host"] = settings.EMBEDDED.host
        return super().connect(*args, **kwargs)

    @cached_property
    def prepared(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """A cursor that prepares its statements. Reusing one takes half the CPU time of creating one per statement."""
        cursor = psycopg.Cursor(self)
        cursor.format = psycopg.pq.Format.BINARY
        return cursor

    def is_lost(self) -> bool:
        """Return whether the server has closed the connection, as far as this is known without a round trip."""
        with suppress(psycopg.OperationalError):
            # The first read gets the FATAL message, the second the end of the stream.
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        return self.closed

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        timeout = timeout or self.deadline_seconds
        deadline = monotonic() + timeout
        try:
            return _wait(gen, self.pgconn.socket, deadline) if GEVENT else super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate or monotonic() < deadline:
                raise
            self._cancel()
            self.close()
            raise psycopg.OperationalError(f"no response within {timeout} s") from error

    def set_statement_timeout(self, *, local: bool) -> None:
        """Set it for the session, or only for the transaction (`local`), as a transaction pooler requires."""
        milliseconds = self.deadline_seconds * STATEMENT_TIMEOUT_SHARE * 1000
        self.execute("SELECT set_config('statement_timeout', %s, %s)", [f"{milliseconds:.0f}ms", local])

    def _cancel(self) -> None:
        """Ask the server to cancel the statement, in a thread, because the server may be hung.

        Not by the public `cancel_safe`, because it needs a connection that is still open.
        """
        with suppress(psycopg.Error):
            Thread(target=_send_cancel, args=[self.pgconn.cancel_conn()], daemon=True).start()


def connect_with_deadline(seconds: float, *, autocommit: bool = False) -> DeadlineConnection:
    """Return a connection outside the pool, which may be exhausted or wait for a dead server.

    Each step takes `seconds` at most. Without `autocommit`, the connection is for one transaction, because its
    statement timeout ends with it. Raises psycopg.Error.
    """
    params = connection.get_connection_params() | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    database = DeadlineConnection.connect(**params, autocommit=autocommit)
    database.deadline_seconds = seconds
    try:
        # Through a transaction pooler, other clients would inherit a setting of the session.
        if not (autocommit and settings.TRANSACTION_POOLING):
            database.set_statement_timeout(local=not autocommit)
    except BaseException:
        database.close()
        raise
    return database


def _wait(gen: PQGen[T], fileno: int, deadline: float) -> T:
    try:
        state = next(gen)
        while True:
            watcher = get_hub().loop.io(fileno, state)  # libev's event bits equal psycopg's
            wait_on(watcher, max(0, deadline - monotonic()), psycopg.OperationalError())
            state = gen.send(Ready(state))  # report both readiness bits; libpq's calls are non-blocking
    except StopIteration as stop:
        result: T = stop.value
        return result


def _send_cancel(cancel: PGcancelConn) -> None:
    with suppress(psycopg.Error):
        cancel.start()
        waiting.wait_conn(generators.cancel(cancel), interval=0.1, timeout=CANCEL_TIMEOUT_SECONDS)
