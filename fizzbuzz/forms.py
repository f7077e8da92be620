"""The form on the first page."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

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
    # Of this page: a double click counts once.
    key = forms.UUIDField(
        required=False,
        initial=uuid4,
        widget=forms.HiddenInput,
        error_messages={"invalid": "This page is damaged. Load it again, and submit once more."},
    )
