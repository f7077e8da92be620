"""The service's own Prometheus counters. Their names are an interface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from prometheus_client import Counter

from fizzbuzz import rules

Channel = Literal["form", "api", "batch"]

_submissions = Counter("fizzbuzz_submissions_total", "Numbers recorded.", ["kind", "channel"])


def count_submissions(numbers: Iterable[int], channel: Channel) -> None:
    """Counts numbers that are committed."""
    for number in numbers:
        _submissions.labels(rules.classify(number).value, channel).inc()
