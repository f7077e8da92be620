"""Connections for those who must answer soon, whatever the database does."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.abc import PQGen
from psycopg.waiting import Ready

T = TypeVar("T")

CONNECT_TIMEOUT = 2  # seconds; libpq waits no less

# psycopg waits by a selector, which gevent only imitates: gevent's own wait takes a third of the CPU time.
GEVENT = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("select")
if GEVENT:
    from gevent import get_hub
    from gevent.socket import wait as wait_on


class ImpatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """Gives up on this side: a server that hangs can't run its own statement_timeout."""

    seconds = 10.0  # that each step may take

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """As psycopg's, but the embedded server's socket is looked up again: it may have been lost and restored."""
        if settings.EMBEDDED:
            kwargs["host"] = settings.EMBEDDED.host
        return super().connect(*args, **kwargs)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        timeout = timeout or self.seconds
        return _wait(gen, self.pgconn.socket, timeout) if GEVENT else super().wait(gen, interval, timeout)


def _wait(gen: PQGen[T], fileno: int, timeout: float) -> T:
    deadline = monotonic() + timeout
    try:
        state = next(gen)
        while True:
            watcher = get_hub().loop.io(fileno, state)  # libev's events have psycopg's numbers
            late = psycopg.OperationalError(f"no answer within {timeout} s")
            wait_on(watcher, max(0, deadline - monotonic()), late)
            state = gen.send(Ready(state))  # said of both where either will do: nothing that follows blocks
    except StopIteration as stop:
        result: T = stop.value
        return result


def connect(seconds: float) -> ImpatientConnection:
    """One beside the pool, which may be exhausted or wait for a dead server. Each step takes `seconds` at most.

    Raises psycopg.Error.
    """
    params = connection.get_connection_params() | {"connect_timeout": CONNECT_TIMEOUT}
    impatient = ImpatientConnection.connect(**params, autocommit=True)
    impatient.seconds = seconds
    return impatient
