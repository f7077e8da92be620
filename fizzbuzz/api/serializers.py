"""Serializers of the API's requests, query parameters and responses."""

import json
from contextlib import suppress
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import Direction, OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.settings import api_settings

from fizzbuzz import rules, times
from fizzbuzz.api.problems import MAX_ERRORS, InvalidQuery

MAX_BATCH_NUMBERS = 10_000
MAX_LIMIT = 100  # of the most common numbers
INTEGER = {"type": "integer", "format": "int64", "minimum": rules.SMALLEST, "maximum": rules.LARGEST}
KINDS = [kind.value for kind in rules.Kind]
# Examples in the OpenAPI document. A test compares them with what the service answers.
FIFTEEN = {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz"}
RECORDED = {"id": 1, **FIFTEEN, "created_at": "2026-01-31T12:00:00.123456Z"}


# Only as an integer: for a choice between that and text, generators of clients make a class instead of a plain value.
@extend_schema_field(INTEGER | {"description": "Not written as 15.0 or 1e3. A string of its digits is accepted, too."})
class NumberField(serializers.Field):
    """A whole number, parsed by `rules.parse_number`."""

    def to_internal_value(self, data: Any) -> int:
        try:
            return rules.parse_number(data)
        except rules.InvalidNumber as error:
            raise serializers.ValidationError(f"{error} Received {_shown(data)}.") from None


def _shown(value: Any, max_chars: int = 60) -> str:
    """Return a value for an error message: ASCII, on one line, and short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value[:max_chars] if isinstance(value, str) else value)
    return text if len(text) <= max_chars else f"{text[:max_chars]}…"


class NumbersField(serializers.ListField):
    """Numbers of a batch. Unlike DRF's ListField, it checks the length before the items, and stops at MAX_ERRORS."""

    child = NumberField()
    default_error_messages = {
        "not_a_list": "Send an array of numbers, such as [15, 7].",
        "min_length": "Send at least one number.",
        "max_length": "Send at most {max_length} numbers.",
    }

    def run_child_validation(self, data: list[Any]) -> list[int]:
        self.run_validators(data)
        numbers: list[int] = []
        errors: dict[str, Any] = {}
        for position, value in enumerate(data):
            try:
                numbers.append(self.child.to_internal_value(value))
            except serializers.ValidationError as error:
                errors[str(position)] = error.detail
                if len(errors) == MAX_ERRORS:
                    break
        if errors:
            raise serializers.ValidationError(errors)
        return numbers


# An object with exactly one member. A docstring would be the description of requests in the OpenAPI document.
class BodySerializer(serializers.Serializer):
    default_error_messages = {
        "invalid": "Send a JSON object.",
        "null": "Send a JSON object.",
        "unknown": "Unknown member {name}. The only member of this object is {known}.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := data.keys() - self.fields.keys()):
            self.fail("unknown", name=_shown(min(unknown)), known=_shown(*self.fields))
        return super().to_internal_value(data)


class _BodySchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # drf-spectacular registers subclasses
    target_class, match_subclasses = BodySerializer, True

    def map_serializer(self, auto_schema: Any, direction: Direction) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)  # noqa: SLF001 - as its guide says
        return {**schema, "additionalProperties": False}


@extend_schema_serializer(examples=[OpenApiExample("Fifteen", {"number": 15})])
class SubmitSerializer(BodySerializer):
    number = NumberField()


@extend_schema_serializer(examples=[OpenApiExample("One number of each kind", {"numbers": [3, 5, 15, 7]})])
class BatchSerializer(BodySerializer):
    numbers = NumbersField(min_length=1, max_length=MAX_BATCH_NUMBERS)


_integer = partial(serializers.IntegerField, min_value=rules.SMALLEST, max_value=rules.LARGEST, read_only=True)


# The fields of responses only describe the JSON: making it here takes a third less time.
@extend_schema_serializer(examples=[OpenApiExample("Fifteen, recorded", RECORDED)])
class SubmissionSerializer(serializers.Serializer):
    id = _integer()
    number = _integer()
    result = serializers.CharField(read_only=True)
    kind = serializers.ChoiceField(KINDS, read_only=True)
    created_at = serializers.DateTimeField(read_only=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Represent a Submission or a LogRow."""
        number, created_at = instance.number, instance.created_at_text
        kind, result = rules.kind_and_result(number)
        return {"id": instance.id, "number": number, "result": result, "kind": kind, "created_at": created_at}


@extend_schema_serializer(examples=[OpenApiExample("Fifteen, sent twice", {**FIFTEEN, "count": 2})])
class NumberSerializer(serializers.Serializer):
    number = _integer()
    result = serializers.CharField(read_only=True)
    kind = serializers.ChoiceField(KINDS, read_only=True)
    count = _integer()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Represent a NumberWithCount."""
        kind, result = rules.kind_and_result(instance.number)
        return {"number": instance.number, "result": result, "kind": kind, "count": instance.count}


@extend_schema_serializer(examples=[OpenApiExample("Fifteen, most common", {**FIFTEEN, "count": 2})])
class MostCommonSerializer(NumberSerializer):
    pass  # only its name in the OpenAPI document differs


@extend_schema_field({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT})
class LimitField(serializers.Field):
    """The number of rows to return."""

    def to_internal_value(self, data: Any) -> int:
        with suppress(rules.InvalidNumber):
            if 1 <= (limit := rules.parse_number(data)) <= MAX_LIMIT:
                return limit
        raise serializers.ValidationError(f"Enter a whole number from 1 to {MAX_LIMIT}. Received {_shown(data)}.")


class TimeField(serializers.DateTimeField):
    def to_internal_value(self, value: Any) -> datetime:
        try:
            return times.parse_time(value)
        except times.InvalidTime as error:
            raise serializers.ValidationError(str(error)) from None


class Query(serializers.Serializer):
    """The query parameters of an action. Others are rejected, so that a misspelt one is not ignored."""

    others: tuple[str, ...] = ()  # parameters that are read elsewhere

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return dict(self.run_validation({}))

    def parse(self, request: Request) -> dict[str, Any]:
        """Return the validated parameters of a request. Raise InvalidQuery."""
        if not request.META.get("QUERY_STRING"):
            return self.defaults
        given, known = request.query_params, (*self.fields, *self.others)
        accepts = f"the parameters {', '.join(known)}" if known else "no parameters"
        errors = {
            name: ["Give this parameter once." if name in known else f"Unknown parameter. This URL accepts {accepts}."]
            for name in sorted(given)
            # Of two values one would silently be ignored.
            if name != api_settings.URL_FORMAT_OVERRIDE and (name not in known or len(given.getlist(name)) > 1)
        }
        if errors:
            raise InvalidQuery(errors)
        try:
            # A QueryDict would be treated as an HTML form, where an empty field counts as missing.
            return dict(self.run_validation(given.dict()))
        except serializers.ValidationError as error:
            raise InvalidQuery(error.detail) from error


class MostCommonQuery(Query):
    limit = LimitField(default=3)
    since = TimeField(required=False, help_text="Only submissions from this time on, as in RFC 3339.")
    until = TimeField(required=False, help_text="Only submissions before this time, as in RFC 3339.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.keys() >= {"since", "until"} and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"since": times.REVERSED})
        return attrs


class SubmissionFilters(Query):
    others = ("cursor",)
    number = NumberField(required=False)
    kind = serializers.ChoiceField(
        choices=KINDS, required=False, error_messages={"invalid_choice": f"Enter one of {', '.join(KINDS)}."}
    )
