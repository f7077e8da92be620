"""The pages for people."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_http_methods, require_safe

from fizzbuzz import activity, idempotency, recording, rollup, rules
from fizzbuzz.charts import chart
from fizzbuzz.forms import SubmissionForm
from fizzbuzz.models import NumberWithCount, Submission

TOP = 3
LATEST = 7
LIVE_SECONDS = 1


@never_cache  # a step back brings a fresh key, and what is sent then counts
@gzip_page
@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The form and the figures. htmx takes from this page what changes; others are led to the number's own page."""
    form = SubmissionForm(request.POST if request.method == "POST" else None)
    if not form.is_bound:
        return render(request, "home.html", {"form": form, **_figures()})
    if not form.is_valid():
        return render(request, "home.html", {"form": form, **_figures()}, status=422)
    number, key = form.cleaned_data["number"], form.cleaned_data["key"]
    if key:
        # With another number it is another submission.
        idempotency.record_once([number], "form", f"{key}:{number}")
    else:
        recording.record([number], "form")
    if "HX-Request" not in request.headers:
        return HttpResponse(status=303, headers={"Location": reverse("number", args=[number])})
    form = SubmissionForm(initial={"number": form["number"].value()})
    return render(request, "home.html", {"form": form, **_answer(number), **_figures()})


@cache_control(public=True, max_age=0, s_maxage=2)
@gzip_page
@conditional_page
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """What changes by itself on the first page. The same for all: rendered without the request, it sets no cookie.

    Each process renders it once in LIVE_SECONDS, however many look.
    """
    return HttpResponse(cache.get_or_set("live", lambda: render_to_string("_live.html", _figures()), LIVE_SECONDS))


@require_safe
def number(request: HttpRequest, text: str) -> HttpResponse:
    """What one number is, and how often it was submitted; looking records nothing."""
    try:
        value = rules.parse_number(text)
    except rules.InvalidNumber as error:
        raise Http404(str(error)) from error
    if text != str(value):
        return redirect("number", value, permanent=True)
    context = {
        "title": f"{value} is {rules.result(value)}",
        "why": rules.why(value),
        "times": Submission.objects.first_and_last(value),
        "previous": value - 1 if value > rules.SMALLEST else None,
        "next": value + 1 if value < rules.LARGEST else None,
    }
    return render(request, "number.html", context | _answer(value))


def _figures() -> dict[str, Any]:
    return {
        "top": rollup.top(TOP),
        "latest": activity.latest(LATEST),
        "chart": chart("hour", activity.activity("hour")),
    }


def _answer(number: int) -> dict[str, Any]:
    return {"number": NumberWithCount(number, rollup.count_of(number)), "place": rollup.place(number)}
