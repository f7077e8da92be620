"""Metrics of statements that bypass Django's cursors: the same metrics as for Django's own statements."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from django.db import connection
from django_prometheus.db import errors_total, execute_total, query_duration_seconds

_labels = {"alias": connection.alias, "vendor": connection.vendor}
_executed = execute_total.labels(**_labels)
_duration = query_duration_seconds.labels(**_labels)

log = logging.getLogger(__name__)


@contextmanager
def counted() -> Iterator[None]:
    """Count the statement that this block runs, its duration, and its error."""
    started_at = perf_counter()
    try:
        yield
    except BaseException as error:
        kind = type(error).__name__
        _count(lambda: errors_total.labels(type=kind, **_labels).inc())
        raise
    _count(lambda: _duration.observe(perf_counter() - started_at))


def _count(count: Callable[[], object]) -> None:
    """Update the metrics. The statement may be committed, so an error here must not fail the request."""
    try:
        _executed.inc()
        count()
    except Exception:
        log.exception("A statement could not be counted in the metrics")
