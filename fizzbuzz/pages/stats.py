"""The statistics page and its downloads. Each is rendered at most once a second per process."""

from __future__ import annotations

from typing import NamedTuple

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from core.shared_calls import SharedCalls
from fizzbuzz import exporting
from fizzbuzz.counts import activity, ranking
from fizzbuzz.models import Submission
from fizzbuzz.pages import charts
from fizzbuzz.pages.rendered import Rendered
from fizzbuzz.rules import Kind

MAX_DOWNLOAD_ROWS = 10_000  # submissions in one download, which is rendered in memory
MAX_AGE_SECONDS = 1


class _File(NamedTuple):
    """A download; the period is empty if it has none."""

    what: str
    period: str
    format_: exporting.Format


def _render_stats(period: str) -> Rendered:
    buckets = activity.activity(period)
    context = {
        "period": period,
        "axes": charts.AXES,
        "chart": charts.chart(period, buckets),
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
    rows = [
        (bucket.start.strftime("%Y-%m-%dT%H:%M:%SZ"), *(bucket.counts[kind] for kind in Kind))
        for bucket in activity.activity(period)
    ]
    return exporting.export_rows(("start", *Kind), rows, format_)


def _submissions(period: str, format_: exporting.Format) -> bytes:
    """The newest submissions of the period."""
    since = activity.activity(period)[0].start
    newest = Submission.objects.newest(MAX_DOWNLOAD_ROWS).between(since, None)
    # In memory, not streamed: a slow client must not hold a database connection.
    return b"".join(exporting.export_submissions(newest, format_))


DOWNLOADS = {"activity": _activity, "most-common": _most_common, "submissions": _submissions}


def _render_file(file: _File) -> Rendered:
    body = DOWNLOADS[file.what](file.period, file.format_)
    name = f"{file.what}-{file.period}" if file.period else file.what
    headers = {"Content-Disposition": f'attachment; filename="{name}.{file.format_}"'}
    return Rendered(body, exporting.CONTENT_TYPES[file.format_], headers)


page = SharedCalls(_render_stats, MAX_AGE_SECONDS)
files = SharedCalls(_render_file, MAX_AGE_SECONDS)


@require_safe
def stats(request: HttpRequest) -> HttpResponse:
    return page(_period(request)).response(request)


@require_safe
def download(request: HttpRequest, what: str, format_: exporting.Format) -> HttpResponse:
    period = "" if what == "most-common" else _period(request)
    return files(_File(what, period, format_)).response(request)


def _period(request: HttpRequest) -> str:
    period = request.GET.get("window", "hour")
    if period not in activity.PERIODS:
        raise BadRequest(f"Unknown window. Choose one of: {', '.join(activity.PERIODS)}.")
    return period
