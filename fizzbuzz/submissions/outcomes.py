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
def not_recorded_on_error() -> Iterator[None]:
    """Map any error to NotRecorded. For statements before the one that commits."""
    try:
        yield
    except Rejected:
        raise
    except Exception as error:
        raise NotRecorded(str(error)) from error


@contextmanager
def classify_write_error() -> Iterator[None]:
    """Map any error of a statement or commit that was sent to NotRecorded or OutcomeUnknown."""
    try:
        yield
    except (NotRecorded, OutcomeUnknown, Rejected):
        raise
    except Exception as error:
        # Severity ERROR means that the statement was rolled back. FATAL and lost connections may follow its commit, and
        # so may an error of the driver, such as one that cannot parse the server's response.
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        rejected = isinstance(cause, psycopg.Error) and cause.diag.severity_nonlocalized == "ERROR"
        # Unless it is Citus' error about a worker that was lost, perhaps after that worker's commit.
        rejected = rejected and not is_worker_unreachable(error)
        raise (NotRecorded if rejected else OutcomeUnknown)(str(error)) from error


@contextmanager
def write_transaction() -> Iterator[None]:
    """Run a transaction on Django's connection. Raise NotRecorded, OutcomeUnknown or Rejected."""
    with not_recorded_on_error():
        connection.ensure_connection()
    with classify_write_error(), transaction.atomic(), not_recorded_on_error():
        yield
