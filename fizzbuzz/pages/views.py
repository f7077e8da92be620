"""HTML pages: the first page with its form, its live data, and a page for each number."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from fizzbuzz import rules
from fizzbuzz.counts import activity, ranking, reads
from fizzbuzz.counts.number_facts import NumberFacts
from fizzbuzz.pages.charts import chart
from fizzbuzz.pages.forms import SubmissionForm
from fizzbuzz.pages.rendered import Rendered
from fizzbuzz.pages.same_origin import require_same_origin
from fizzbuzz.shared_calls import SharedCalls
from fizzbuzz.submissions import idempotency, record

TOP_ROWS = 3
LATEST_ROWS = 7
MAX_AGE_SECONDS = 1

# Placeholders in number.html for what changes with each submission, and the templates that replace them.
CHANGING_PARTS = {"[[submitted]]": "_number_submitted.html", "[[facts]]": "_number_facts.html"}

log = logging.getLogger(__name__)


class _FirstPage(NamedTuple):
    page: Rendered
    live: Rendered
    live_html: SafeString


def _render_first_page() -> _FirstPage:
    data = {
        "top": ranking.top(TOP_ROWS),
        "latest": activity.latest(LATEST_ROWS),
        "chart": chart("hour", activity.activity("hour")),
    }
    live = render_to_string("_live.html", data)
    page = render_to_string("home.html", {"form": SubmissionForm(), "live": live})
    return _FirstPage(Rendered(page.encode()), Rendered(live.encode()), live)


# Rendered without the request, so that it is the same for everyone.
first_page = SharedCalls(_render_first_page, MAX_AGE_SECONDS)


@csrf_exempt  # see same_origin.py
@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The first page, which is the same for everyone; a POST submits a number."""
    return submit(request) if request.method == "POST" else first_page().page.response(request)


@never_cache
def submit(request: HttpRequest) -> HttpResponse:
    """Record the submitted number. Render the answer for htmx; redirect other clients to the number's page."""
    require_same_origin(request)
    by_htmx = "HX-Request" in request.headers
    form = SubmissionForm(request.POST)
    if not form.is_valid():
        if by_htmx:
            return render(request, "answer.html", {"form": form}, status=422)
        return render(request, "home.html", {"form": form, "live": first_page().live_html}, status=422)
    number, key = form.cleaned_data["number"], form.cleaned_data["key"]
    if key:
        # The number is part of the key: the form with another number is another submission.
        (submission,), is_replay = idempotency.record_once([number], "form", f"{key}:{number}")
    else:
        submission, is_replay = record.record_one(number, "form"), False
    if not by_htmx:
        return HttpResponse(status=303, headers={"Location": reverse("number", args=[number])})
    try:
        facts = reads.facts(number)
    except Exception:  # the number is recorded, so the response must not be an error
        log.exception("Cannot read the counts of a recorded number")
        facts = NumberFacts(number, 0, None, None, None)
    # Live data come from caches that may be older than this submission, so its row comes with the answer.
    row = None if is_replay else submission
    context = {"form": form, "facts": facts, "host": request.get_host(), "submission": row}
    return render(request, "answer.html", context)


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Live data of the first page, as an HTML fragment."""
    return first_page().live.response(request)


@require_safe
def number(request: HttpRequest, text: str) -> HttpResponse:
    """Page of one number: its result, and how often it was submitted. Records nothing."""
    try:
        value = rules.parse_number(text)
    except rules.InvalidNumber as error:
        raise Http404(str(error)) from error
    if text != str(value):
        return redirect("number", value, permanent=True)
    page = _render_number(reads.facts(value), request.scheme or "", request.get_host())
    return page.response(request)


@require_safe
def security_txt(request: HttpRequest) -> HttpResponse:
    """How to report a vulnerability (RFC 9116): at the operator's FEEDBACK_URL."""
    if not settings.FEEDBACK_URL:
        raise Http404
    expires = datetime.now(UTC) + timedelta(days=30)
    text = f"Contact: {settings.FEEDBACK_URL}\nExpires: {expires:%Y-%m-%dT%H:%M:%SZ}\n"
    return HttpResponse(text, "text/plain; charset=utf-8")


@lru_cache(64)  # for numbers that are viewed more often than they are submitted
def _render_number(facts: NumberFacts, scheme: str, host: str) -> Rendered:
    page = _render_frame(facts.number, facts.count > 0, scheme, host)
    if facts.count:
        for part, template in CHANGING_PARTS.items():
            page = page.replace(part, render_to_string(template, {"facts": facts}).strip())
    # Caches must revalidate: without JavaScript, this page is the answer to a submission.
    return Rendered(page.encode(), headers={"Cache-Control": "no-cache"})


@lru_cache(64)
def _render_frame(number: int, submitted: bool, scheme: str, host: str) -> str:  # noqa: FBT001 - called once
    """Return the page of a number without its CHANGING_PARTS. This part takes three quarters of the page's CPU time."""
    kind, result = rules.kind_and_result(number)
    context = {
        "number": number,
        "kind": kind,
        "result": result,
        "why": rules.divisibility(number),
        "submitted": submitted,
        "title": f"{number} is {result}",
        "previous": number - 1 if number > rules.SMALLEST else None,
        "next": number + 1 if number < rules.LARGEST else None,
        "scheme": scheme,
        "host": host,
    }
    return render_to_string("number.html", context)
