"""psycopg connections with a client-side deadline, and a statement timeout on the server just below it."""

from __future__ import annotations

import sys
from contextlib import suppress
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
# The server's share of a deadline: its error arrives first, and says that nothing was done.
STATEMENT_TIMEOUT_SHARE = 0.9

# psycopg waits by a selector, which gevent only imitates: gevent's own wait takes a third of the CPU time.
GEVENT = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("select")
if GEVENT:
    from gevent import get_hub
    from gevent.socket import wait as wait_on


class DeadlineConnection(psycopg.Connection[tuple[Any, ...]]):
    """Closed by the first step that exceeds its deadline: a server that hangs can't run its own statement_timeout."""

    deadline_seconds = 10.0

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """As psycopg's, but the embedded server's socket is looked up again: it may have been lost and restored."""
        if "host" in kwargs and settings.EMBEDDED:
            kwargs["host"] = settings.EMBEDDED.host
        return super().connect(*args, **kwargs)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        timeout = timeout or self.deadline_seconds
        try:
            return _wait(gen, self.pgconn.socket, timeout) if GEVENT else super().wait(gen, interval, timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - what psycopg's own wait raises
            self._cancel()
            self.close()
            raise psycopg.OperationalError(f"no answer within {timeout} s") from error

    def set_statement_timeout(self, *, local: bool) -> None:
        """Of the session, or of the transaction alone (`local`), which is safe behind a transaction pooler too."""
        milliseconds = self.deadline_seconds * STATEMENT_TIMEOUT_SHARE * 1000
        self.execute("SELECT set_config('statement_timeout', %s, %s)", [f"{milliseconds:.0f}ms", local])

    def _cancel(self) -> None:
        """Ask the server to end the statement, or its backend would go on. Concurrently: the server may hang."""
        with suppress(psycopg.Error):
            Thread(target=_send_cancel, args=[self.pgconn.cancel_conn()], daemon=True).start()


def connect_with_deadline(seconds: float, *, autocommit: bool = False) -> DeadlineConnection:
    """Return a connection outside of the pool, which may be exhausted or wait for a dead server.

    Each step takes `seconds` at most. Unless `autocommit`, it is for one transaction. Raises psycopg.Error.
    """
    params = connection.get_connection_params() | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    database = DeadlineConnection.connect(**params, autocommit=autocommit)
    database.deadline_seconds = seconds
    try:
        if not (
            autocommit and settings.TRANSACTION_POOLING
        ):  # a setting of the session would reach other clients there
            database.set_statement_timeout(local=not autocommit)
    except BaseException:
        database.close()
        raise
    return database


def _wait(gen: PQGen[T], fileno: int, timeout: float) -> T:
    deadline = monotonic() + timeout
    try:
        state = next(gen)
        while True:
            watcher = get_hub().loop.io(fileno, state)  # libev's events have psycopg's numbers
            late = psycopg.errors._WaitTimeout()  # noqa: SLF001 - as psycopg's own wait raises
            wait_on(watcher, max(0, deadline - monotonic()), late)
            state = gen.send(Ready(state))  # report both readiness bits; libpq's calls are non-blocking
    except StopIteration as stop:
        result: T = stop.value
        return result


def _send_cancel(cancel: PGcancelConn) -> None:
    with suppress(psycopg.Error):
        cancel.start()
        waiting.wait_conn(generators.cancel(cancel), interval=0.1, timeout=CANCEL_TIMEOUT_SECONDS)
