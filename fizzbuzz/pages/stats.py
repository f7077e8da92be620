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


class _Download(NamedTuple):
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


def _render_most_common(format_: exporting.Format) -> Rendered:
    columns = ("rank", "number", "result", "kind", "count")
    rows = [
        (rank, each.number, each.result, each.kind, each.count)
        for rank, each in enumerate(ranking.top(ranking.MAX_RANK), start=1)
    ]
    return _download("most-common", format_, exporting.export_rows(columns, rows, format_))


def _render_activity(download: _Download) -> Rendered:
    """The data of the chart."""
    period, format_ = download
    columns = ("start", *Kind)
    rows = [
        (bucket.start.strftime("%Y-%m-%dT%H:%M:%SZ"), *(bucket.counts[kind] for kind in Kind))
        for bucket in activity.activity(period)
    ]
    return _download(f"activity-{period}", format_, exporting.export_rows(columns, rows, format_))


def _render_submissions(download: _Download) -> Rendered:
    """The newest submissions of the period."""
    period, format_ = download
    since = activity.activity(period)[0].start
    newest = Submission.objects.newest(MAX_DOWNLOAD_ROWS).between(since, None)
    # In memory, not streamed: a slow client must not hold a database connection.
    return _download(f"submissions-{period}", format_, b"".join(exporting.export_submissions(newest, format_)))


def _download(name: str, format_: exporting.Format, body: bytes) -> Rendered:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format_}"'}
    return Rendered(body, exporting.CONTENT_TYPES[format_], headers)


page = SharedCalls(_render_stats, MAX_AGE_SECONDS)
most_common_file = SharedCalls(_render_most_common, MAX_AGE_SECONDS)
activity_file = SharedCalls(_render_activity, MAX_AGE_SECONDS)
submissions_file = SharedCalls(_render_submissions, MAX_AGE_SECONDS)


@require_safe
def stats(request: HttpRequest) -> HttpResponse:
    return page(_period(request)).response(request)


@require_safe
def download_top(request: HttpRequest, format_: exporting.Format) -> HttpResponse:
    return most_common_file(format_).response(request)


@require_safe
def download_activity(request: HttpRequest, format_: exporting.Format) -> HttpResponse:
    return activity_file(_Download(_period(request), format_)).response(request)


@require_safe
def download_submissions(request: HttpRequest, format_: exporting.Format) -> HttpResponse:
    return submissions_file(_Download(_period(request), format_)).response(request)


def _period(request: HttpRequest) -> str:
    period = request.GET.get("window", "hour")
    if period not in activity.PERIODS:
        raise BadRequest(f"Unknown window. Choose one of: {', '.join(activity.PERIODS)}.")
    return period
