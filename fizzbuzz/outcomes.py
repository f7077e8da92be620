"""What became of a submission that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError


class NotRecorded(OperationalError):
    """Nothing was recorded: it was never sent, or the server refused it."""


class OutcomeUnknown(OperationalError):
    """It was sent, and no answer came: it is recorded, or not."""


@contextmanager
def before_it_is_sent() -> Iterator[None]:
    """Turns errors of the database into NotRecorded."""
    try:
        yield
    except (psycopg.Error, DatabaseError, InterfaceError) as error:
        raise NotRecorded(str(error)) from error


@contextmanager
def after_it_was_sent() -> Iterator[None]:
    """Turns errors of the database into the one that is true of them."""
    try:
        yield
    except NotRecorded:
        raise
    except (psycopg.Error, DatabaseError, InterfaceError) as error:
        # An error that leaves the session alive undid the statement; what ends the session may come after its commit.
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        refused = isinstance(cause, psycopg.Error) and cause.diag.severity_nonlocalized == "ERROR"
        raise (NotRecorded if refused else OutcomeUnknown)(str(error)) from error
