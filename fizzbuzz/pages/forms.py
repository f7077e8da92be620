"""The form on the first page."""

from __future__ import annotations

from typing import Any

from django import forms

from fizzbuzz import rules


class NumberField(forms.Field):
    """A whole number as `rules.parse_number` takes it, with spaces around it allowed."""

    default_error_messages = {"required": rules.EXPECTED}

    def to_python(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if not text:
            return None
        try:
            return rules.parse_number(text)
        except rules.InvalidNumber as error:
            raise forms.ValidationError(str(error), "invalid") from error


class SubmissionForm(forms.Form):
    number = NumberField(
        widget=forms.TextInput(
            attrs={"autofocus": True, "autocomplete": "off", "spellcheck": "false", "enterkeyhint": "go"}
        )
    )
    # Made by live.js for each submission, so that it counts once however often it is sent.
    key = forms.UUIDField(
        required=False,
        error_messages={"invalid": "This form is no longer valid. Reload the page and try again."},
    )
