"""Serializers of the API's requests, query parameters and responses."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import MAXYEAR, UTC, datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from fizzbuzz import rules
from fizzbuzz.api.problems import MAX_ERRORS

MAX_BATCH_NUMBERS = 10_000
MAX_LIMIT = 100  # of the most common numbers
INTEGER = {"type": "integer", "format": "int64", "minimum": rules.SMALLEST, "maximum": rules.LARGEST}
# Any text of up to 18 digits is in range. Longer ones may be valid, too, which a pattern cannot express.
TEXT = {"type": "string", "pattern": "^[+-]?[0-9]{1,18}$"}


# The description excludes 15.0, which JSON Schema takes for an integer.
@extend_schema_field({"oneOf": [INTEGER, TEXT], "description": "A whole number, not written as 15.0 or 1e3."})
class NumberField(serializers.Field):
    """A whole number, parsed by `rules.parse_number`."""

    def to_internal_value(self, data: Any) -> int:
        return _parse(data)


def _parse(value: Any) -> int:
    try:
        return rules.parse_number(value)
    except rules.InvalidNumber as error:
        raise serializers.ValidationError(f"{error} Received {_shown(value)}.") from None


def _shown(value: Any, max_chars: int = 60) -> str:
    """Return a value for an error message: ASCII, on one line, and short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value[:max_chars] if isinstance(value, str) else value)
    return text if len(text) <= max_chars else f"{text[:max_chars]}…"


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
class LimitField(NumberField):
    """The number of rows to return."""

    def to_internal_value(self, data: Any) -> int:
        with suppress(rules.InvalidNumber):
            if 1 <= (limit := rules.parse_number(data)) <= MAX_LIMIT:
                return limit
        raise serializers.ValidationError(f"Enter a whole number from 1 to {MAX_LIMIT}. Received {_shown(data)}.")


@extend_schema_field(INTEGER)
class IntegerField(serializers.ReadOnlyField):
    """A 64-bit integer."""


@extend_schema_field({"type": "string", "enum": [kind.value for kind in rules.Kind]})
class KindField(serializers.ReadOnlyField):
    """The kind of a number."""


# The base returns attributes unchanged, since the renderer can write them: this takes a third off the time of a page of
# the log. Its fields only describe the response in the OpenAPI document, where a docstring would appear, too.
class AttributesSerializer(serializers.Serializer):
    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {name: getattr(instance, name) for name in self.fields.keys()}  # noqa: SIM118 - DRF's stubs mistake it for a list


class SubmissionSerializer(AttributesSerializer):
    id = IntegerField()
    number = IntegerField()
    result = serializers.CharField(read_only=True)
    kind = KindField()
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Represent a Submission or a LogRow; the kind is computed only once."""
        number = instance.number
        kind, result = rules.kind_and_result(number)
        return {
            "id": instance.id,
            "number": number,
            "result": result,
            "kind": kind,
            "created_at": instance.created_at_text,
        }


class SubmitSerializer(serializers.Serializer):
    number = NumberField()


class NumbersField(serializers.ListField):
    """Numbers of a batch. Unlike DRF's ListField, it checks the length before the items, and stops at MAX_ERRORS."""

    child = NumberField()

    def run_child_validation(self, data: list[Any]) -> list[int]:
        self.run_validators(data)
        numbers: list[int] = []
        errors: dict[str, Any] = {}
        for position, value in enumerate(data):
            try:
                numbers.append(_parse(value))
            except serializers.ValidationError as error:
                errors[str(position)] = error.detail
                if len(errors) == MAX_ERRORS:
                    break
        if errors:
            raise serializers.ValidationError(errors)
        return numbers


class BatchSerializer(serializers.Serializer):
    numbers = NumbersField(min_length=1, max_length=MAX_BATCH_NUMBERS)


class NumberSerializer(AttributesSerializer):
    number = IntegerField()
    result = serializers.CharField(read_only=True)
    kind = KindField()
    count = IntegerField()


class MostCommonSerializer(NumberSerializer):
    pass


class TimeField(serializers.DateTimeField):
    def to_internal_value(self, value: Any) -> datetime:
        try:
            return super().to_internal_value(value)
        except serializers.ValidationError:
            if re.search(r"\d [0-9]{2}:?[0-9]{2}$", str(value), re.ASCII):
                raise serializers.ValidationError(
                    "In a URL, + is decoded as a space. Use %2B instead, as in 2026-01-31T12:00:00%2B01:00."
                ) from None
            raise

    def enforce_timezone(self, value: datetime) -> datetime:
        """Return the time in UTC. Within a day of the first or last year that has none, return the nearest that has."""
        try:
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC) if value.year == MAXYEAR else datetime.min.replace(tzinfo=UTC)


class MostCommonQuery(serializers.Serializer):
    limit = LimitField(default=3)
    since = TimeField(required=False, help_text="Only submissions from this time on, as ISO 8601.")
    until = TimeField(required=False, help_text="Only submissions before this time, as ISO 8601.")


class SubmissionFilters(serializers.Serializer):
    number = NumberField(required=False)
    kind = serializers.ChoiceField(choices=[kind.value for kind in rules.Kind], required=False)
