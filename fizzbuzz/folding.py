"""Who folds: each process, in the flow of the submissions that it recorded."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError

from fizzbuzz import metrics, rollup

# Rows. Half of what a fold may take, so that the folds catch up with any backlog.
FOLD_EVERY = rollup.MOST_ROWS // 2
PATIENCE = 5.0  # seconds that who appends a lot waits at most for others, so that the tail stays short

log = logging.getLogger(__name__)


class Folder:
    """Counts what this process recorded since it last folded. Threads and greenlets share it."""

    def __init__(self) -> None:
        # As if due: the first submission also folds what an earlier process left behind.
        self._recorded = FOLD_EVERY
        self._folding = threading.Lock()

    def recorded(self, rows: int) -> None:
        """To be called after the commit of these rows; folds when enough have come together. Raises nothing."""
        self._recorded += rows  # two threads may lose a few rows here, and fold that much later
        if self._recorded < FOLD_EVERY or not self._folding.acquire(blocking=False):
            return
        try:
            # Who recorded more folds more: a batch waits for some, a single submission for one.
            due, self._recorded = self._recorded // FOLD_EVERY, 0
            while due and self._fold():
                due -= 1
        except DatabaseError:
            metrics.folds.labels("failed").inc()
            log.exception("A fold failed; the answers stay exact, and the next fold makes up for it")
        finally:
            self._folding.release()

    def _fold(self) -> bool:
        """Whether there may be more to fold."""
        with metrics.fold_seconds.time():
            rows = rollup.fold()
        metrics.folds.labels("skipped" if rows is None else "done").inc()
        return rows == rollup.MOST_ROWS


recorded = Folder().recorded


def catch_up(newest: int, most: int) -> None:
    """Folds up to this id, which `rollup.settle` gave, `most` rows at once: for who appends a lot.

    Others' folds are skipped meanwhile. Sorted, many rows share the pages that they touch: it takes half as long a row.
    """
    deadline = time.monotonic() + PATIENCE
    while (folded := rollup.fold_settled(newest, most)) in {None, most} and time.monotonic() < deadline:
        if folded is None:
            time.sleep(0.01)
