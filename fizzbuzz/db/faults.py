"""Classify database errors: those that pass by themselves, and faults of the service or of its settings."""

from __future__ import annotations

from enum import Enum

import psycopg
from django.db import InterfaceError, OperationalError


class Fault(Enum):
    """Why a statement failed. The value is the message for people."""

    UNAVAILABLE = "The database is unavailable. Try again in a moment."
    BUSY = "The database is busy, and this took too long. Try again in a moment."
    EXHAUSTED = "The database is out of memory or disk space. Try again later."
    OURS = "Internal error. If it persists, contact the operator."


# By the beginning of the SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_SQLSTATE = {
    "57P": Fault.UNAVAILABLE,  # shutdown, starting up
    "53300": Fault.UNAVAILABLE,  # too many connections
    "25006": Fault.UNAVAILABLE,  # read-only, such as a standby after a failover
    "57014": Fault.BUSY,  # statement timeout
    "55P03": Fault.BUSY,  # lock timeout
    "40": Fault.BUSY,  # deadlock, serialization failure
    "53": Fault.EXHAUSTED,  # disk full, out of memory
    "58030": Fault.EXHAUSTED,  # I/O error
}


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
    # Citus gives the second one no SQLSTATE of its own.
    return (cause.sqlstate or "").startswith("08") or "connection marked as essential" in str(cause)
