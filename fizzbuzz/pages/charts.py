"""Submissions over time as a stacked bar chart. templates/_chart.html draws it."""

from typing import Any

from django.utils.safestring import SafeString, mark_safe

from fizzbuzz.counts.activity import PERIODS, Bucket
from fizzbuzz.rules import Kind

# From the bottom up; the most frequent kind first.
STACK = (Kind.NUMBER, Kind.FIZZ, Kind.BUZZ, Kind.FIZZBUZZ)
GAP = 0.25  # between bars, as a share of a bar's slot


def chart(period: str, buckets: list[Bucket]) -> dict[str, Any]:
    """Return the context of the template for `activity(period)`: bars of each kind, totals, and times to label."""
    most = max(bucket.total for bucket in buckets)
    top = _round_up(most)
    return {
        "period": PERIODS[period],
        "total": sum(bucket.total for bucket in buckets),
        "series": [
            {"kind": kind, "total": sum(each.counts[kind] for each in buckets), "bars": _bars(kind, buckets, top)}
            for kind in STACK
        ],
        "most": most,  # total of the highest bar
        "top": top,  # value at the top of the plot
        "labels": [bucket.start for bucket in buckets[:: PERIODS[period].buckets_per_label]],
    }


def _bars(kind: Kind, buckets: list[Bucket], top: int) -> SafeString:
    """Return the segments of a kind as SVG, in percent of the plot. A template loop took most of the page's time."""
    below = STACK[: STACK.index(kind)]
    width = _percent((1 - GAP) / len(buckets))
    bars = []
    for index, bucket in enumerate(buckets):
        if count := bucket.counts[kind]:
            x = _percent((index + GAP / 2) / len(buckets))
            y = _percent(1 - (count + sum(bucket.counts[each] for each in below)) / top)
            bars.append(f'<rect x="{x}%" y="{y}%" width="{width}%" height="{_percent(count / top)}%"/>')
    return mark_safe("".join(bars))  # noqa: S308 - built from numbers only


def _round_up(number: int) -> int:
    """Return the next number that is an even digit, or 10, followed by zeros."""
    power: int = 10 ** (len(str(number)) - 1)
    return next(digit * power for digit in (2, 4, 6, 8, 10) if number <= digit * power)


def _percent(share: float) -> str:
    return f"{share * 100:.2f}".rstrip("0").rstrip(".")
