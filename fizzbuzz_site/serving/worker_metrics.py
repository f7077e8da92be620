"""Prometheus counters and histograms in shared memory, summed over all worker processes.

prometheus_client's own multi-process mode maps files. A full disk then kills workers by SIGBUS, cleaners of temporary
folders delete the files, files can be corrupted, and SIGKILL leaves them behind. Anonymous shared memory avoids all
of that: gunicorn's master allocates it before it forks, and the kernel frees it with the last process.

gunicorn's master imports this module, so nothing here may import Django.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from mmap import mmap
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, values
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# Per worker. Labels are bounded: all views with all methods and statuses stay below this.
MAX_SERIES = 16_384
MAX_NAME_BYTES = 4 << 20  # of all series' names together; pages that are never written use no memory

_log = logging.getLogger(__name__)
_slots: list[Slot] = []
_own: Slot | None = None


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

    def open(self) -> None:
        """Index the series that an earlier worker left in this slot."""
        self._positions = {name: position for position, (name, _) in enumerate(self.series())}

    def cell(self, name: str) -> memoryview[float] | None:
        """Return a view of this series' value; None if the slot is full."""
        position = self._positions.get(name)
        if position is None:
            position, line, used = len(self._positions), name.encode() + b"\n", self._used[0]
            if position == MAX_SERIES or used + len(line) > MAX_NAME_BYTES:
                return None
            self._names[used : used + len(line)] = line
            self._used[0] = used + len(line)
            self._positions[name] = position
        return self._values[position : position + 1]


class SharedValue:
    """A value class for prometheus_client that stores its value in this worker's slot.

    It needs no lock: the threads of a gevent worker that count are greenlets, which do not yield here.
    """

    def __init__(self, cell: memoryview[float]) -> None:
        self._cell = cell

    def inc(self, amount: float) -> None:
        self._cell[0] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        self._cell[0] = value

    def get(self) -> float:
        return self._cell[0]

    def set_exemplar(self, exemplar: Any) -> None:
        """Exemplars are not supported."""

    def get_exemplar(self) -> None:
        return None


def allocate(slots: int) -> None:
    """Allocate memory for this many workers, before the first is forked."""
    try:
        _slots.extend(Slot() for _ in range(slots))
    except OSError as error:
        _log.warning("Shared memory for metrics unavailable (%s): each worker reports only its own.", error)


def free_slot(taken: Container[int | None]) -> int | None:
    return next((index for index in range(len(_slots)) if index not in taken), None)


def use_slot(index: int | None) -> None:
    """Count this process's metrics in a slot that no other living process uses."""
    global _own  # noqa: PLW0603 - there is one per process
    if index is None:
        _log.warning("No slot left for this worker's metrics: /metrics does not include them.")
    else:
        _own = _slots[index]
        _own.open()


def install() -> None:
    """Make prometheus_client keep values in this process's slot, or in its own memory if it has none.

    PROMETHEUS_MULTIPROC_DIR is ignored: it may be set for another program. `ValueClass` is not documented, but
    prometheus_client has no public way to replace its storage.
    """
    values.ValueClass = _value if _own else values.MutexValue


def registry() -> CollectorRegistry | Collector:
    """Return the registry that /metrics reports."""
    return _AllWorkers() if _slots else REGISTRY


def _value(  # noqa: PLR0913, PLR0917 - prometheus_client's order
    kind: str, family: str, name: str, labels: Iterable[str], label_values: Iterable[str], text: str, **more: Any
) -> SharedValue | values.MutexValue:
    # The sum of a gauge over workers has no meaning; use a collector for gauges.
    if _own and kind != "gauge":
        series = json.dumps([kind, family, name, text, dict(zip(labels, label_values, strict=True))])
        if cell := _own.cell(series):
            return SharedValue(cell)
        _log.warning("No shared memory left for the metric %s: /metrics does not include it.", series)
    return values.MutexValue(kind, family, name, labels, label_values, text, **more)  # type: ignore[no-untyped-call]  # it has no annotations


class _AllWorkers(Collector):
    """Sums over all slots, including those of dead workers."""

    def collect(self) -> Iterator[Metric]:
        totals: dict[str, float] = defaultdict(float)
        for slot in _slots:
            for name, value in slot.series():
                totals[name] += value
        families: dict[str, Metric] = {}
        cumulative: dict[tuple[str, ...], float] = defaultdict(float)
        for series, value in totals.items():
            kind, family, name, text, labels = _parsed(series)
            if family not in families:
                families[family] = Metric(family, text, kind)
            if "le" not in labels:
                families[family].add_sample(name, labels, value)
                continue
            # Slots store separate counts per bucket, in ascending order; Prometheus wants cumulative ones.
            rest = {key: label for key, label in labels.items() if key != "le"}
            histogram = (family, *rest.values())
            cumulative[histogram] += value
            families[family].add_sample(name, labels, cumulative[histogram])
            if labels["le"] == "+Inf":
                families[family].add_sample(f"{family}_count", rest, cumulative[histogram])
        yield from families.values()


@lru_cache(MAX_SERIES)
def _parsed(series: str) -> tuple[str, str, str, str, dict[str, str]]:
    parts: tuple[str, str, str, str, dict[str, str]] = tuple(json.loads(series))
    return parts
