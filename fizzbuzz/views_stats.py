"""The page of statistics, and what can be downloaded there."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import conditional_page, require_safe

from fizzbuzz import activity, charts, exporting, rollup
from fizzbuzz.models import Submission
from fizzbuzz.rules import Kind

MOST_ROWS = 10_000  # of the log that one download holds: nobody waits long for it, whoever asks how often

View = Callable[..., HttpResponse]


def fresh(view: View) -> View:
    """To be asked for again each time, and sent again only if it changed; a CDN may keep it for a moment."""
    return require_safe(cache_control(public=True, max_age=0, s_maxage=2)(conditional_page(view)))


@fresh
def stats(request: HttpRequest) -> HttpResponse:
    window = _window(request)
    buckets = activity.activity(window)
    context = {
        "window": window,
        "axes": charts.AXES,
        "chart": charts.chart(window, buckets),
        "buckets": buckets,
        "top": rollup.top(rollup.PLACES),
        "places": rollup.PLACES,
        "most_rows": MOST_ROWS,
    }
    return render(request, "stats.html", context)


@fresh
def most_common(request: HttpRequest, form: exporting.Format) -> HttpResponse:
    columns = ("place", "number", "result", "kind", "count")
    rows = [
        (place, each.number, each.result, each.kind, each.count)
        for place, each in enumerate(rollup.top(rollup.PLACES), start=1)
    ]
    return _download("most-common", form, exporting.export_rows(columns, rows, form))


@fresh
def figures(request: HttpRequest, form: exporting.Format) -> HttpResponse:
    """What the chart shows."""
    window = _window(request)
    columns = ("start", *Kind)
    rows = [
        (bucket.start.strftime("%Y-%m-%dT%H:%M:%SZ"), *(bucket.counts[kind] for kind in Kind))
        for bucket in activity.activity(window)
    ]
    return _download(f"activity-{window}", form, exporting.export_rows(columns, rows, form))


@fresh
def submissions(request: HttpRequest, form: exporting.Format) -> HttpResponse:
    """The newest of the window."""
    window = _window(request)
    since = activity.activity(window)[0].start
    newest = Submission.objects.newest(MOST_ROWS).between(since, None)
    # As a whole: a reader that is slow holds no connection to the database.
    return _download(f"submissions-{window}", form, b"".join(exporting.export(newest, form)))


def _window(request: HttpRequest) -> str:
    window = request.GET.get("window", "hour")
    if window not in activity.WINDOWS:
        raise BadRequest(f"There is no such window. Choose one of: {', '.join(activity.WINDOWS)}.")
    return window


def _download(name: str, form: exporting.Format, body: bytes) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return HttpResponse(body, content_type=exporting.CONTENT_TYPES[form], headers=headers)
