"""Prometheus counters and histograms in shared memory, summed over all worker processes.

prometheus_client's own multi-process mode maps files. A full disk then kills workers by SIGBUS, cleaners of temporary
folders delete the files, files can be corrupted, and SIGKILL leaves them behind. Anonymous shared memory avoids all
of that: gunicorn's master allocates it before it forks, and the kernel frees it with the last process.

gunicorn's master imports this module, so nothing here may import Django.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from functools import lru_cache
from mmap import mmap
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# Per worker. Labels are bounded: all views with all methods and statuses stay below this.
MAX_SERIES = 16_384
MAX_NAME_BYTES = 4 << 20  # of all series' names together; pages that are never written use no memory

_log = logging.getLogger(__name__)
slots: list["Slot"] = []  # of all workers, allocated by the master before it forks the first
_own: "Slot | None" = None


class Slot:
    """The series of one worker: their values, and their names in the same order, one per line.

    A worker that takes the slot of a dead one continues with its values, so a counter never decreases.
    """

    def __init__(self) -> None:
        view = memoryview(mmap(-1, 8 + 8 * MAX_SERIES + MAX_NAME_BYTES))
        self._used = view[:8].cast("Q")  # bytes of names; written last, so readers see whole series
        self._values = view[8 : 8 + 8 * MAX_SERIES].cast("d")
        self._names = view[8 + 8 * MAX_SERIES :]
        self._positions: dict[str, int] = {}

    def series(self) -> Iterable[tuple[str, float]]:
        names = bytes(self._names[: self._used[0]]).decode().splitlines()
        return zip(names, self._values[: len(names)].tolist(), strict=True)

    def use(self) -> None:
        """Count this process's metrics in this slot, which no other living process uses. Index an earlier one's."""
        global _own  # noqa: PLW0603 - there is one per process
        _own = self
        self._positions = {name: position for position, (name, _) in enumerate(self.series())}

    def cell(self, name: str) -> "memoryview[float] | None":
        """Return a view of this series' value; None if the slot is full."""
        position = self._positions.get(name)
        if position is None:
            position, line, used = len(self._positions), name.encode() + b"\n", self._used[0]
            if position == MAX_SERIES or used + len(line) > MAX_NAME_BYTES:
                _log.warning("No shared memory left for the metric %s: /metrics does not include it.", name)
                return None
            self._names[used : used + len(line)] = line
            self._used[0] = used + len(line)
            self._positions[name] = position
        return self._values[position : position + 1]


class SharedValue(values.MutexValue):
    """A value of prometheus_client in this worker's slot, or in its own memory if it has none.

    It needs no lock: the threads of a gevent worker that count are greenlets, which do not yield here.
    """

    def __init__(self, kind: str, family: str, name: str, labels: Iterable[str], *more: Any, **options: Any) -> None:
        super().__init__(kind, family, name, labels, *more, **options)  # type: ignore[no-untyped-call]
        label_values, text = more
        series = json.dumps([kind, family, name, text, dict(zip(labels, label_values, strict=True))])
        # The sum of a gauge over workers has no meaning; use a collector for gauges.
        shared = _own.cell(series) if _own and kind != "gauge" else None
        self._cell = shared or memoryview(bytearray(8)).cast("d")

    def inc(self, amount: float) -> None:
        self._cell[0] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        self._cell[0] = value

    def get(self) -> float:
        return self._cell[0]


# Replaced by the import, before any metric is created. `ValueClass` is not documented, but prometheus_client has no
# public way to replace its storage. PROMETHEUS_MULTIPROC_DIR, which may be set for another program, is ignored.
values.ValueClass = SharedValue


def registry() -> CollectorRegistry | Collector:
    """Return the registry that /metrics reports."""
    return _AllWorkers() if slots else REGISTRY


class _AllWorkers(Collector):
    """Sums over all slots, including those of dead workers."""

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for slot in slots:
            for series, value in slot.series():
                kind, family, name, text, labels = _parsed(series)
                families.setdefault(family, Metric(family, text, kind)).add_sample(name, labels, value)
        # Not documented: prometheus_client's own sums, which also make the counts of buckets cumulative.
        accumulate: Any = MultiProcessCollector._accumulate_metrics  # noqa: SLF001
        yield from accumulate(families, accumulate=True)


@lru_cache(MAX_SERIES)
def _parsed(series: str) -> tuple[Any, ...]:
    kind, family, name, text, labels = json.loads(series)
    return kind, family, name, text, tuple(labels.items())
