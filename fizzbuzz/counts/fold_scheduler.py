"""When to fold: each process folds in a background thread, beside the requests."""

from __future__ import annotations

import logging
import threading
import time

from django.db import connection

from fizzbuzz import metrics
from fizzbuzz.counts import folding, ranking
from fizzbuzz.counts.folding import FoldLimit, LogReplaced

FOLD_EVERY_ROWS = 1_000  # that this process recorded
FOLD_INTERVAL_SECONDS = 1.0  # between two looks at the tail, whoever wrote it
MIN_SETTLE_INTERVAL_SECONDS = 0.05  # between two looks at the writers that a fold depends on; doubled each time
IMPORT_FOLD_TIMEOUT_SECONDS = 5.0  # that an import waits for other writers and folds, so that the tail stays short

log = logging.getLogger(__name__)


class FoldScheduler:
    """Folds after every FOLD_EVERY_ROWS rows that this process recorded, and every FOLD_INTERVAL_SECONDS.

    It never waits for writers: it remembers how far it can fold once they are done.
    """

    def __init__(self) -> None:
        self.pause_seconds = FOLD_INTERVAL_SECONDS  # until the next step
        self._recorded = 0
        self._due = threading.Event()
        self._thread: threading.Thread | None = None
        self._limit: FoldLimit | None = None
        self._failing = False

    def start(self) -> None:
        """Start the thread, unless it runs in this process. It keeps no process from exiting."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fold", daemon=True)
            self._thread.start()

    def recorded(self, rows: int) -> None:
        """Take note of rows that are committed. Never waits."""
        self._recorded += rows  # two threads may lose a few rows here, and fold that much later
        if self._recorded >= FOLD_EVERY_ROWS:
            self._recorded = 0
            self.start()
            self._due.set()

    def step(self) -> int:
        """Fold what is settled by now, and return how many rows. A fold that fails is logged."""
        try:
            rows = self._fold_tail()
        except Exception as error:
            self._forget()
            ranking.known_tail_rows = 0
            if isinstance(error, LogReplaced):
                return 0
            metrics.folds.labels("failed").inc()
            if not self._failing:  # once, if the database is down for long
                log.exception("A fold failed. Counts stay exact; the next fold makes up for it.")
            self._failing = True
            return 0
        self._failing = False
        return rows

    def _fold_tail(self) -> int:
        tail = ranking.known_tail_rows = folding.tail_length() or 0
        if not tail:
            self._forget()
            return 0
        if self._limit is None:
            self._limit = folding.find_fold_limit()
            self.pause_seconds = MIN_SETTLE_INTERVAL_SECONDS
        if not folding.is_settled(self._limit):
            self.pause_seconds = min(2 * self.pause_seconds, FOLD_INTERVAL_SECONDS)
            return 0
        newest, folded = self._limit.newest, 0
        self._forget()
        while rows := _fold(newest):
            folded += rows
            if rows < folding.MAX_ROWS_PER_FOLD:
                ranking.known_tail_rows = 0  # but for what came since
                break
            ranking.known_tail_rows = max(0, tail - folded)
        return folded

    def _forget(self) -> None:
        self._limit, self.pause_seconds = None, FOLD_INTERVAL_SECONDS

    def _run(self) -> None:
        while True:
            self._due.wait(self.pause_seconds)
            self._due.clear()
            try:
                self.step()
                connection.close()  # back to the pool
            except Exception:
                log.exception("Folding failed in an unexpected way, and goes on")


def fold_when_settled(limit: FoldLimit) -> None:
    """Fold up to the limit, for a command that appends many rows. Gives up after IMPORT_FOLD_TIMEOUT_SECONDS."""
    deadline = time.monotonic() + IMPORT_FOLD_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        rows = _fold(limit.newest) if folding.is_settled(limit) else None
        if rows is None:  # a writer is open, or another process folds
            time.sleep(0.01)
        elif rows < folding.MAX_ROWS_PER_FOLD:
            return


def _fold(newest: int) -> int | None:
    with metrics.fold_seconds.time():
        rows = folding.fold_settled(newest)
    metrics.folds.labels("skipped" if rows is None else "done").inc()
    return rows


scheduler = FoldScheduler()
