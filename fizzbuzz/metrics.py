"""Counters and histograms of the app. Their names are an interface."""

import collections
from collections.abc import Iterable
from typing import Literal

from prometheus_client import Counter, Histogram

from fizzbuzz import rules

Channel = Literal["form", "api", "batch"]

_submissions = Counter("fizzbuzz_submissions_total", "Numbers recorded.", ["kind", "channel"])
folds = Counter("fizzbuzz_folds_total", "Folds of the log's tail into the rollup.", ["outcome"])
unlimited = Counter("fizzbuzz_rate_limit_unavailable_total", "Requests not rate-limited because Redis was unavailable.")
fold_seconds = Histogram(
    "fizzbuzz_fold_seconds",
    "Duration of a fold.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
worker_starts = Counter("fizzbuzz_worker_starts_total", "Worker processes that have started, the first ones included.")
worker_starts.inc()  # each worker imports this module once


def count_submissions(numbers: Iterable[int], channel: Channel) -> None:
    """Count committed numbers in fizzbuzz_submissions_total."""
    for kind, count in collections.Counter(map(rules.classify, numbers)).items():
        _submissions.labels(kind.value, channel).inc(count)
