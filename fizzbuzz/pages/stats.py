"""The statistics page with its downloads, and the chart that it shares with the first page."""

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from fizzbuzz import exporting
from fizzbuzz.counts import activity, ranking
from fizzbuzz.models import Submission
from fizzbuzz.pages.rendered import MAX_AGE_SECONDS, Rendered
from fizzbuzz.rules import Kind
from fizzbuzz.shared_calls import SharedCalls

MAX_DOWNLOAD_ROWS = 10_000  # submissions in one download, which is rendered in memory
# From the bottom up; the most frequent kind first.
STACK = (Kind.NUMBER, Kind.FIZZ, Kind.BUZZ, Kind.FIZZBUZZ)
GAP = 0.25  # between bars, as a share of a bar's slot


def chart(period: str, buckets: list[activity.Bucket]) -> dict[str, Any]:
    """Return the context of templates/_chart.html, a stacked bar chart of `activity(period)`."""
    most = max(bucket.total for bucket in buckets)
    top = _round_up(most)
    return {
        "period": activity.PERIODS[period],
        "total": sum(bucket.total for bucket in buckets),
        "series": [
            {"kind": kind, "total": sum(each.counts[kind] for each in buckets), "bars": _bars(kind, buckets, top)}
            for kind in STACK
        ],
        "most": most,  # total of the highest bar
        "top": top,  # value at the top of the plot
        "labels": [bucket.start for bucket in buckets[:: activity.PERIODS[period].buckets_per_label]],
    }


def _bars(kind: Kind, buckets: list[activity.Bucket], top: int) -> SafeString:
    """Return the segments of a kind as SVG, in percent of the plot. A template loop took most of the page's time."""
    until_kind = STACK[: STACK.index(kind) + 1]
    slot = 100 / len(buckets)
    bars = []
    for index, bucket in enumerate(buckets):
        if count := bucket.counts[kind]:
            x, width = (index + GAP / 2) * slot, (1 - GAP) * slot
            y, height = 100 * (top - sum(bucket.counts[each] for each in until_kind)) / top, 100 * count / top
            bars.append(f'<rect x="{x:.4g}%" y="{y:.4g}%" width="{width:.4g}%" height="{height:.4g}%"/>')
    return mark_safe("".join(bars))  # noqa: S308 - built from numbers only


def _round_up(number: int) -> int:
    """Return the next number that is an even digit, or 10, followed by zeros."""
    power = 10 ** (len(str(number)) - 1)
    return next(digit * power for digit in (2, 4, 6, 8, 10) if number <= digit * power)


def _render_stats(period: str) -> Rendered:
    buckets = activity.activity(period)
    context = {
        "period": period,
        "periods": activity.PERIODS,
        "chart": chart(period, buckets),
        "buckets": buckets,
        "top": ranking.top(ranking.MAX_RANK),
        "max_rank": ranking.MAX_RANK,
        "max_rows": MAX_DOWNLOAD_ROWS,
    }
    return Rendered(render_to_string("stats.html", context).encode())


def _most_common(period: str, format_: exporting.Format) -> bytes:
    columns = ("rank", "number", "result", "kind", "count")
    top = enumerate(ranking.top(ranking.MAX_RANK), start=1)
    rows = [(rank, each.number, each.result, each.kind, each.count) for rank, each in top]
    return exporting.export_rows(columns, rows, format_)


def _activity(period: str, format_: exporting.Format) -> bytes:
    """The data of the chart."""
    buckets = activity.activity(period)
    rows = [(f"{bucket.start:%Y-%m-%dT%H:%M:%SZ}", *bucket.counts.values()) for bucket in buckets]
    return exporting.export_rows(("start", *buckets[0].counts), rows, format_)


def _submissions(period: str, format_: exporting.Format) -> bytes:
    """The newest submissions of the period."""
    since = activity.activity(period)[0].start
    newest = Submission.objects.newest(MAX_DOWNLOAD_ROWS).between(since, None)
    # In memory, not streamed: a slow client must not hold a database connection.
    return b"".join(exporting.export_submissions(newest, format_))


DOWNLOADS = {"activity": _activity, "most-common": _most_common, "submissions": _submissions}


def _render_file(what: str, period: str, format_: exporting.Format) -> Rendered:
    name = f"{what}-{period}" if period else what
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format_}"'}
    return Rendered(DOWNLOADS[what](period, format_), exporting.CONTENT_TYPES[format_], headers)


page = SharedCalls(_render_stats, MAX_AGE_SECONDS)
files = SharedCalls(_render_file, MAX_AGE_SECONDS)


@require_safe
def stats(request: HttpRequest) -> HttpResponse:
    return page(_period(request)).response(request)


@require_safe
def download(request: HttpRequest, what: str, format_: exporting.Format) -> HttpResponse:
    period = "" if what == "most-common" else _period(request)
    return files(what, period, format_).response(request)


def _period(request: HttpRequest) -> str:
    period = request.GET.get("window", "hour")
    if period not in activity.PERIODS:
        raise BadRequest(f"Unknown window. Choose one of: {', '.join(activity.PERIODS)}.")
    return period
