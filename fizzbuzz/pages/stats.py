"""The statistics page and its downloads. Each is rendered at most once a second per process."""

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from fizzbuzz import exporting
from fizzbuzz.counts import activity, ranking
from fizzbuzz.models import Submission
from fizzbuzz.pages import charts
from fizzbuzz.pages.rendered import Rendered
from fizzbuzz.shared_calls import SharedCalls

MAX_DOWNLOAD_ROWS = 10_000  # submissions in one download, which is rendered in memory
MAX_AGE_SECONDS = 1


def _render_stats(period: str) -> Rendered:
    buckets = activity.activity(period)
    context = {
        "period": period,
        "periods": activity.PERIODS,
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


def _render_file(file: tuple[str, str, exporting.Format]) -> Rendered:
    what, period, format_ = file
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
    return files((what, period, format_)).response(request)


def _period(request: HttpRequest) -> str:
    period = request.GET.get("window", "hour")
    if period not in activity.PERIODS:
        raise BadRequest(f"Unknown window. Choose one of: {', '.join(activity.PERIODS)}.")
    return period
