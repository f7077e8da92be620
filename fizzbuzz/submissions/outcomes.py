"""Classify errors during a write: not recorded, or outcome unknown."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import OperationalError, connection, transaction

from fizzbuzz.db.faults import is_worker_unreachable


class NotRecorded(OperationalError):
    """The request recorded nothing: the statement was not sent, or the server rejected it."""


class OutcomeUnknown(OperationalError):
    """The statement was sent and the server did not confirm it: it may or may not be committed."""


class Rejected(Exception):
    """The request is at fault, and recorded nothing."""

    detail = ""

    def __str__(self) -> str:
        return self.detail


@contextmanager
def classify_errors(*, sent: bool) -> Iterator[None]:
    """Map any error to NotRecorded, or to OutcomeUnknown if a statement or commit was sent and may have succeeded."""
    try:
        yield
    except (NotRecorded, OutcomeUnknown, Rejected):
        raise
    except Exception as error:
        raise (OutcomeUnknown if sent and not _is_rolled_back(error) else NotRecorded)(str(error)) from error


def _is_rolled_back(error: Exception) -> bool:
    """Return whether the server rejected the statement with this error.

    Severity ERROR says that. FATAL and lost connections may follow its commit, and so may an error of the driver, such
    as one that cannot parse the response, and Citus' error about a worker that was lost.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    is_error = isinstance(cause, psycopg.Error) and cause.diag.severity_nonlocalized == "ERROR"
    return is_error and not is_worker_unreachable(error)


@contextmanager
def write_transaction() -> Iterator[None]:
    """Run a transaction on Django's connection. Raise NotRecorded, OutcomeUnknown or Rejected."""
    with classify_errors(sent=False):
        connection.ensure_connection()
    with classify_errors(sent=True), transaction.atomic(), classify_errors(sent=False):
        yield
