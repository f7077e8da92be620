"""Database errors: those that pass by themselves, and faults of the service or of its settings. Waits for locks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import psycopg
from django.db import InterfaceError, OperationalError
from django.db.backends.utils import CursorWrapper


class LockTimeout(Exception):
    """A lock could not be acquired in time."""


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


def fault_of(exception: BaseException | None) -> Fault:
    """Return the fault of a database error, or of the one that caused this exception."""
    while exception and exception.__cause__ and not isinstance(exception, psycopg.Error):
        exception = exception.__cause__
    state = exception.sqlstate if isinstance(exception, psycopg.Error) else None
    if exception and state:
        if is_worker_unreachable(exception):
            return Fault.UNAVAILABLE
        return next((fault for prefix, fault in _BY_SQLSTATE.items() if state.startswith(prefix)), Fault.OURS)
    # Not an error message of the server, such as a lost connection or a timeout.
    lost = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
    return Fault.UNAVAILABLE if isinstance(exception, lost) else Fault.OURS


def is_worker_unreachable(exception: BaseException) -> bool:
    """Return whether the server itself lives, and could not reach a worker of its Citus cluster."""
    cause = exception if isinstance(exception, psycopg.Error) else exception.__cause__
    if not isinstance(cause, psycopg.Error):
        return False
    # Citus' messages are not translated. It gives the second one no SQLSTATE of its own; a pooler's errors are 08P01.
    lost = (cause.sqlstate or "").startswith("08") and re.search("remote node|while executing command on", str(cause))
    return bool(lost) or "connection marked as essential" in str(cause)


def foreseeable(exception: BaseException) -> str | None:
    """Return one line about a database error that an operator can cause and repair. None for faults of the code."""
    cause = exception if isinstance(exception, psycopg.Error) else exception.__cause__
    ours = fault_of(exception) is Fault.OURS and getattr(cause, "sqlstate", None) not in _RIGHTS_AND_TABLES
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    hintless = (line for line in str(exception).splitlines() if not line.startswith("\t"))
    return None if ours else primary or " ".join(hintless)


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
