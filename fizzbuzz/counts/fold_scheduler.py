"""Fold scheduling: each process folds in a thread (in a worker, a greenlet), concurrently with its requests."""

import logging
import threading
from math import inf
from time import monotonic

from django.db import Error, connection

from fizzbuzz import metrics
from fizzbuzz.counts import folding, ranking
from fizzbuzz.db.faults import Fault, LockTimeout, begin_outage, end_outage, fault_of

FOLD_EVERY_ROWS = 1_000  # recorded by this process
FOLD_INTERVAL_SECONDS = 1.0  # between two checks of the tail, for rows recorded by any process
SLOW_FOLD_SECONDS = 1.0  # the next fold gets half the rows; else folds on slow storage would all time out

log = logging.getLogger(__name__)


class FoldScheduler:
    """Folds after every FOLD_EVERY_ROWS rows that this process recorded, and every FOLD_INTERVAL_SECONDS."""

    def __init__(self) -> None:
        self._recorded = 0
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._rows_per_fold = FOLD_EVERY_ROWS  # doubled after each fold of so many rows that was not slow

    def start(self) -> None:
        """Start the thread if it does not run in this process yet. It is a daemon: the process may exit any time."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fold", daemon=True)
            self._thread.start()

    def recorded(self, rows: int) -> None:
        """Count committed rows, and wake the thread when a fold is due. Never blocks."""
        self._recorded += rows  # not atomic: lost updates only delay a fold
        ranking.note_tail(ranking.known_tail_rows + rows)
        if self._recorded >= FOLD_EVERY_ROWS:
            self._recorded = 0
            self.start()
            self._due.set()

    def step(self) -> int:
        """Fold the tail, after a wait for its writers. Return how many rows; 0 after an error, which is logged."""
        folded, more = 0, True
        try:
            limit = folding.find_fold_limit(inf, self._before_pause) if self._measure_tail() else None
            while limit and more:
                rows, more = self._fold(limit)
                folded += rows
                self._measure_tail()  # the limit may be old, and the tail beyond it long
        except LockTimeout:
            return 0
        except Error as error:
            metrics.folds.labels("failed").inc()
            begin_outage("folds", error, traceback=fault_of(error) is not Fault.UNAVAILABLE)
            return 0
        end_outage("folds")
        return folded

    def _measure_tail(self) -> int:
        """Return the length of the tail, and let the reads know it. Raise LockTimeout."""
        with folding.short_lock_waits() as cursor:
            rows = folding.tail_rows(cursor)
        ranking.note_tail(rows)
        return rows

    def _before_pause(self) -> None:
        self._measure_tail()
        connection.close()  # returns it to the pool; a command keeps its own, which it might not get again

    def _fold(self, limit: folding.FoldLimit) -> tuple[int, bool]:
        """Fold once. Return how many rows, and whether there may be more."""
        max_rows = min(self._rows_per_fold, folding.MAX_ROWS_PER_FOLD)
        rows, started = None, monotonic()
        try:
            rows = folding.fold_to(limit, max_rows)
        finally:
            seconds = monotonic() - started
            metrics.fold_seconds.observe(seconds)
            if seconds > SLOW_FOLD_SECONDS:
                self._rows_per_fold = max(1, max_rows // 2)
            elif rows == max_rows:
                self._rows_per_fold = 2 * max_rows
        metrics.folds.labels("skipped" if rows is None else "done").inc()
        return rows or 0, rows == max_rows

    def _run(self) -> None:
        while True:
            self._due.wait(FOLD_INTERVAL_SECONDS)
            self._due.clear()
            try:
                self.step()
                connection.close()  # returns it to the pool
            except Exception:
                log.exception("Unexpected error while folding, will be retried")


scheduler = FoldScheduler()
