"""What the API takes and gives."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.utils import html

from fizzbuzz import rules

MOST_NUMBERS = 10_000  # in one batch
MOST_LISTED = 100  # of the most common
INTEGER = {"type": "integer", "format": "int64", "minimum": rules.SMALLEST, "maximum": rules.LARGEST}
# Any text of up to 18 digits is in range; longer ones are looked at.
TEXT = {"type": "string", "pattern": "^[+-]?[0-9]{1,18}$"}


# To JSON Schema 15.0 is an integer.
@extend_schema_field({"oneOf": [INTEGER, TEXT], "description": "A whole number, written as one: not 15.0 or 1e3."})
class NumberField(serializers.Field):
    """A whole number as `rules.parse_number` takes it."""

    default_error_messages = {"invalid": rules.EXPECTED + " This is {value}."}

    def get_value(self, dictionary: Any) -> Any:
        # Of two values in a form, DRF takes the last.
        if html.is_html_input(dictionary) and len(values := dictionary.getlist(self.field_name)) > 1:
            return values
        return super().get_value(dictionary)

    def to_internal_value(self, data: Any) -> int:
        try:
            return rules.parse_number(data)
        except rules.InvalidNumber:
            self.fail("invalid", value=_shown(data))


def _shown(value: Any, longest: int = 60) -> str:
    """A value for an error message: ASCII, on one line, and short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value[:longest] if isinstance(value, str) else value)
    return text if len(text) <= longest else f"{text[:longest]}…"


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MOST_LISTED})
class LimitField(NumberField):
    """How many rows to give."""

    default_error_messages = {"invalid": f"Enter a whole number from 1 to {MOST_LISTED}. This is {{value}}."}

    def to_internal_value(self, data: Any) -> int:
        limit = super().to_internal_value(data)
        if not 1 <= limit <= MOST_LISTED:
            self.fail("invalid", value=_shown(data))
        return limit


@extend_schema_field(INTEGER)
class IntegerField(serializers.ReadOnlyField):
    """A 64-bit integer, as JSON gives it."""


@extend_schema_field({"type": "string", "enum": [kind.value for kind in rules.Kind]})
class KindField(serializers.ReadOnlyField):
    """What the number is divisible by."""


# The serializers below have no docstrings: one of their base would become their description in the OpenAPI document.
# The base returns attributes unchanged, since the renderer can write them: a page of the log takes two thirds of the
# time. Its fields are for the document.
class AttributesSerializer(serializers.Serializer):
    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {name: getattr(instance, name) for name in self.fields.fields}


class SubmissionSerializer(AttributesSerializer):
    id = IntegerField()
    number = IntegerField()
    result = serializers.CharField(read_only=True)
    kind = KindField()
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Of a Submission or one of `Submission.objects.as_rows`: a page of the log has a hundred."""
        number = instance.number
        kind, result = rules.described(number)
        return {
            "id": instance.id,
            "number": number,
            "result": result,
            "kind": kind.value,
            "created_at": instance.created_at_text,
        }


class SubmitSerializer(serializers.Serializer):
    number = NumberField()


class BatchSerializer(serializers.Serializer):
    numbers = serializers.ListField(child=NumberField(), min_length=1, max_length=MOST_NUMBERS)


class MostCommonSerializer(AttributesSerializer):
    number = IntegerField()
    result = serializers.CharField(read_only=True)
    kind = KindField()
    count = IntegerField()


class NumberSerializer(AttributesSerializer):
    number = IntegerField()
    result = serializers.CharField(read_only=True)
    kind = KindField()
    count = IntegerField()


class TimeField(serializers.DateTimeField):
    def to_internal_value(self, value: Any) -> datetime:
        try:
            return super().to_internal_value(value)
        except serializers.ValidationError:
            if re.search(r"\d [0-9]{2}:?[0-9]{2}$", str(value), re.ASCII):
                raise serializers.ValidationError(
                    "A + in a URL stands for a space. Write %2B, as in 2026-01-31T12:00:00%2B01:00."
                ) from None
            raise


class MostCommonQuery(serializers.Serializer):
    limit = LimitField(default=3)
    since = TimeField(required=False, help_text="Only submissions from this time on, as ISO 8601.")
    until = TimeField(required=False, help_text="Only submissions before this time, as ISO 8601.")


class LogQuery(serializers.Serializer):
    number = NumberField(required=False)
    kind = serializers.ChoiceField(choices=[kind.value for kind in rules.Kind], required=False)
