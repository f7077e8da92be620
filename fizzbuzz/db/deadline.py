"""psycopg connections with a client-side deadline, and a statement timeout on the server just below it."""

import socket
import sys
from contextlib import suppress
from functools import cached_property
from time import monotonic
from typing import Any, Self, TypeVar

import psycopg
from django.conf import settings
from django.db import connection
from django_prometheus.db import errors_total, execute_total, query_duration_seconds
from django_prometheus.db.common import ExceptionCounterByType
from psycopg.abc import PQGen
from psycopg.errors import Diagnostic
from psycopg.pq import Format, TransactionStatus
from psycopg.waiting import Ready

T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 2  # libpq's minimum; the look-up of the address before it may take as long
# Of the deadline: the server's error then arrives before it, and proves that nothing was committed.
STATEMENT_TIMEOUT_SHARE = 0.9
FIRST_WITH_TRANSACTION_TIMEOUT = 17_00_00

# gunicorn's workers patch the standard library. psycopg waits with a selector, which gevent emulates: gevent's own wait
# takes a third of the CPU time.
GEVENT = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("select")
if GEVENT:
    from gevent import Timeout, get_hub
    from gevent.socket import wait as wait_on

_LABELS = {"alias": "default", "vendor": "postgresql"}
_executed = execute_total.labels(**_LABELS)
_seconds = query_duration_seconds.labels(**_LABELS)


class _CountedCursor(psycopg.Cursor[tuple[Any, ...]]):
    """Counts statements as django-prometheus' cursor does, whose look-up of labels takes 9 µs per statement."""

    def execute(self, *args: Any, **kwargs: Any) -> Self:
        _executed.inc()
        with _seconds.time(), ExceptionCounterByType(errors_total, extra_labels=_LABELS):
            return super().execute(*args, **kwargs)


class DeadlineConnection(psycopg.Connection[tuple[Any, ...]]):
    """Connection whose steps raise OperationalError when they exceed `deadline_seconds`; None is no deadline.

    Statement timeouts precede the deadline. So at the deadline, the server hangs, or a commit waits for a synchronous
    standby. A cancel would make its rows visible without being replicated, and a closed connection would leave its
    backend waiting: they would add up to max_connections. The owner keeps the connection while it `is_waiting`, and
    closes it then.
    """

    failure = ""  # why the last attempt to connect failed
    deadline_seconds: float | None = None
    _standby_was_skipped = False

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        """Connect. If `deadline_seconds` is given, the server ends statements just before it."""
        deadline_seconds = kwargs.pop("deadline_seconds", None)
        if deadline_seconds and not settings.TRANSACTION_POOLING:
            milliseconds = deadline_seconds * STATEMENT_TIMEOUT_SHARE * 1000
            kwargs["options"] = f"{kwargs.get('options', '')} -c statement_timeout={milliseconds:.0f}"
        try:
            if GEVENT:
                _look_up(kwargs.get("host", ""))
            database = super().connect(*args, **kwargs)
        except psycopg.Error as error:
            DeadlineConnection.failure = str(error)
            raise
        DeadlineConnection.failure = ""
        database.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # also through PgBouncer
        database.deadline_seconds = deadline_seconds
        database.add_notice_handler(database.note_skipped_standby)
        if database.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:  # earlier ones reject the option
            database.execute("SET transaction_timeout = 0")
            database.commit()
        return database

    @cached_property
    def prepared(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """A cursor that prepares its statements. Reusing one takes half the CPU time of creating one per statement."""
        cursor = _CountedCursor(self)
        cursor.format = Format.BINARY
        return cursor

    def is_lost(self) -> bool:
        """Return whether the server has closed the connection, as far as this is known without a round trip."""
        with suppress(psycopg.OperationalError):
            # The first read gets the FATAL message, the second the end of the stream.
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        return self.closed

    @property
    def is_waiting(self) -> bool:
        """Whether the server has not completed its response to a statement yet. Takes no round trip; not for COPY."""
        while self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            with suppress(psycopg.OperationalError):  # it is lost, and thereby no longer active
                self.pgconn.consume_input()
            if self.pgconn.is_busy():
                return True
            self.pgconn.get_result()
        return False

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        timeout = timeout or self.deadline_seconds
        deadline = monotonic() + timeout if timeout else None
        try:
            if GEVENT and deadline:
                result = _wait(gen, self.pgconn.socket, deadline)
            else:
                result = super().wait(gen, interval, timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate or not deadline or monotonic() < deadline:
                raise
            raise psycopg.OperationalError(f"no response within {timeout} s") from error
        if self._standby_was_skipped:
            self._standby_was_skipped = False
            raise psycopg.OperationalError("committed, but perhaps not replicated: the wait for a standby was canceled")
        return result

    def note_skipped_standby(self, notice: Diagnostic) -> None:
        """Note PostgreSQL's warning that it did not wait for a synchronous standby. Its text may be translated."""
        self._standby_was_skipped |= notice.source_function == "SyncRepWaitForLSN"


def connect_with_deadline(seconds: float, *, autocommit: bool = False) -> DeadlineConnection:
    """Return a connection outside the pools, which may be exhausted or wait for a dead server.

    Each step takes `seconds` at most. Raises psycopg.Error.
    """
    params = connection.get_connection_params() | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}
    return DeadlineConnection.connect(**params, autocommit=autocommit, deadline_seconds=seconds)


def _look_up(hosts: str) -> None:
    """Look up the addresses within a deadline: libpq's timeout begins afterwards."""
    with Timeout(CONNECT_TIMEOUT_SECONDS, psycopg.OperationalError("the resolver did not answer in time")):
        for host in hosts.split(","):
            if not host.startswith("/"):
                with suppress(OSError):  # psycopg reports it, if there is no other host
                    socket.getaddrinfo(host, None)


def _wait(gen: PQGen[T], fileno: int, deadline: float) -> T:
    try:
        state = next(gen)
        while True:
            watcher = get_hub().loop.io(fileno, state)  # libev's event bits equal psycopg's
            wait_on(watcher, max(0, deadline - monotonic()), psycopg.OperationalError())
            state = gen.send(Ready(state))  # report both readiness bits; libpq's calls are non-blocking
    except StopIteration as stop:
        return stop.value
