"""Database errors: temporary ones, and faults of the service or its settings. Outages in the log. Waits for locks."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from time import monotonic
from typing import Literal

import psycopg
from django.db import InterfaceError, OperationalError
from django.db.backends.utils import CursorWrapper

Failing = Literal["reads", "writes", "folds"]

log = logging.getLogger(__name__)
failing: dict[Failing, float] = {}  # time.monotonic() of the first failure since the last success


class LockTimeout(Exception):
    """A lock could not be acquired in time, or would never have been."""


class Fault(Enum):
    """Why a statement failed. The value is the message for people."""

    UNAVAILABLE = "The database is unavailable. Try again in a moment."
    BUSY = "The database is busy, and this took too long. Try again in a moment."
    EXHAUSTED = "The database is out of memory or disk space. Try again later."
    OURS = "Internal error. If it persists, contact the operator."


# By the beginning of the SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE = {
    "08P01": Fault.UNAVAILABLE,  # PgBouncer's own errors
    "57P": Fault.UNAVAILABLE,  # shutdown, starting up
    "53300": Fault.UNAVAILABLE,  # too many connections
    "25006": Fault.UNAVAILABLE,  # read-only, such as a standby after a failover
    "57014": Fault.BUSY,  # statement timeout
    "55P03": Fault.BUSY,  # lock timeout
    "40": Fault.BUSY,  # deadlock, serialization failure
    "53": Fault.EXHAUSTED,  # disk full, out of memory
    "58030": Fault.EXHAUSTED,  # I/O error
}
_RIGHTS_AND_TABLES = {"42501", "42P01", "3F000"}  # rights are missing, or a table or schema
_LOST = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


def fault_of(exception: BaseException) -> Fault:
    """Return the fault of a database error, or of the one that caused this exception."""
    cause, state = _cause(exception)
    if not state:  # not an error message of the server, such as a lost connection or a timeout
        return Fault.UNAVAILABLE if isinstance(cause, _LOST) else Fault.OURS
    if is_worker_unreachable(cause):
        return Fault.UNAVAILABLE
    return next((fault for prefix, fault in _BY_SQLSTATE.items() if state.startswith(prefix)), Fault.OURS)


def is_worker_unreachable(exception: BaseException) -> bool:
    """Return whether the server itself lives, and could not reach a worker of its Citus cluster."""
    cause, state = _cause(exception)
    # Citus' messages are not translated. It gives the second one no SQLSTATE of its own; a pooler's errors are 08P01.
    lost = state.startswith("08") and re.search("remote node|while executing command on", str(cause))
    return bool(lost) or "connection marked as essential" in str(cause)


def foreseeable(exception: BaseException) -> str | None:
    """Return one line about a database error that an operator can cause and repair. None for faults of the code."""
    cause, state = _cause(exception)
    if fault_of(exception) is Fault.OURS and state not in _RIGHTS_AND_TABLES:
        return None
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return primary or " ".join(line for line in str(exception).splitlines() if not line.startswith("\t"))  # hints


def _cause(exception: BaseException) -> tuple[BaseException, str]:
    """Return the database's error that caused this exception, or its first cause; and the SQLSTATE, if there is one."""
    while exception.__cause__ and not isinstance(exception, psycopg.Error):
        exception = exception.__cause__
    return exception, getattr(exception, "sqlstate", None) or ""


def begin_outage(what: Failing, cause: BaseException, *, traceback: bool = False) -> None:
    """Log one line when reads, writes or folds begin to fail because of the database."""
    if not failing:
        log.error("The database fails: %s", " ".join(str(cause).split()), exc_info=cause if traceback else None)
    failing.setdefault(what, monotonic())


def end_outage(what: Failing) -> None:
    """Log one line when all that failed succeeds again."""
    since = failing.pop(what, None)
    if since and not failing:
        log.warning("The database works again, after %.0f s", monotonic() - since)


@contextmanager
def lock_timeout(cursor: CursorWrapper, seconds: float) -> Iterator[None]:
    """Wait at most so long for each lock, until the transaction ends. Raise LockTimeout."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds * 1000:.0f}ms"])
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            raise LockTimeout from error
        raise
