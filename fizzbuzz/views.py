"""The pages for people."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from fizzbuzz import idempotency, recording, rollup, rules
from fizzbuzz.forms import SubmissionForm
from fizzbuzz.models import NumberWithCount

TOP = 3


@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """The form and the most common numbers. What was recorded is shown at the number's own page."""
    form = SubmissionForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        number, key = form.cleaned_data["number"], form.cleaned_data["key"]
        if key:
            # With another number, after a step back, it is another submission.
            idempotency.record_once([number], "form", f"{key}:{number}")
        else:
            recording.record([number], "form")
        return HttpResponse(status=303, headers={"Location": reverse("number", args=[number])})
    context = {"form": form, "top": rollup.top(TOP)}
    return render(request, "home.html", context, status=422 if form.is_bound else 200)


@require_safe
def number(request: HttpRequest, text: str) -> HttpResponse:
    """What one number is, and how often it was submitted; looking records nothing."""
    try:
        value = rules.parse_number(text)
    except rules.InvalidNumber as error:
        raise Http404(str(error)) from error
    if text != str(value):
        return redirect("number", value, permanent=True)
    counted = NumberWithCount(value, rollup.count_of(value))
    return render(request, "number.html", {"number": counted})
