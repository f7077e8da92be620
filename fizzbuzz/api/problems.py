"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.http import JsonResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from core.log_config import request_id
from fizzbuzz.api.problem_types import BY_SLUG, BY_STATUS

CONTENT_TYPE = "application/problem+json"
MOST_ERRORS = 20  # of one request's that are told


class InvalidQuery(ValidationError):
    """A query parameter that can't be taken."""


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField()
    pointer = serializers.CharField(required=False, help_text="JSON pointer to the member of the body.")
    parameter = serializers.CharField(required=False, help_text="Name of the query parameter.")


class ProblemSerializer(serializers.Serializer):
    """An error, as problem details (RFC 9457)."""

    type = serializers.CharField(help_text="Address of an explanation.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField(help_text="The path that was asked for.")
    request_id = serializers.CharField(help_text="Name it when you report a problem; X-Request-ID says the same.")
    outcome = serializers.ChoiceField(
        choices=["not-recorded", "outcome-unknown"],
        required=False,
        help_text="With 503 and 500: what became of what was sent.",
    )
    errors = ErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # hides a property of no use here


def problem(status: int, detail: str, path: str, **more: Any) -> dict[str, Any]:
    kind = BY_SLUG.get(more.get("outcome", ""))
    if kind is None or kind.status != status:
        kind = BY_STATUS.get(status)
    told = {
        "type": f"{reverse('problems')}#{kind.slug}" if kind else "about:blank",
        "title": kind.title if kind else HTTPStatus(status).phrase,
    }
    return {**told, "status": status, "detail": detail, "instance": path, "request_id": request_id.get(), **more}


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """These errors' entries among the responses of an OpenAPI operation."""
    return {(status, CONTENT_TYPE): OpenApiResponse(ProblemSerializer, BY_STATUS[status].title) for status in statuses}


def problem_response(
    status: int, detail: str, path: str, headers: dict[str, str] | None = None, **more: Any
) -> JsonResponse:
    """For errors outside of DRF's views."""
    body = problem(status, detail, path, **more)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=headers)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's, with its answer put into problem details; the browsable pages show the same."""
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    request = context["request"]
    if isinstance(error, ValidationError):
        place = "parameter" if isinstance(error, InvalidQuery) else "pointer"
        found = list(_flatten(error.detail, "" if place == "parameter" else "#"))
        errors = [{place: where.removeprefix("/"), "detail": text} for where, text in found[:MOST_ERRORS]]
        detail = (
            f"{len(found)} errors, the first {MOST_ERRORS} of them below." if len(found) > MOST_ERRORS else found[0][1]
        )
        response.data = problem(response.status_code, detail, request.path, errors=errors)
    else:
        response.data = problem(response.status_code, response.data["detail"], request.path)
    if not hasattr(request, "accepted_renderer"):  # a 406; the document's own would write YAML
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if request.accepted_renderer.format == "json":
        response.content_type = CONTENT_TYPE
    return response


def _flatten(detail: Any, where: str) -> Iterator[tuple[str, str]]:
    """Each message of DRF's nested error details, with the place it belongs to."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _flatten(value, where if key == "non_field_errors" else f"{where}/{key}")
    elif isinstance(detail, list):
        for value in detail:
            yield from _flatten(value, where)
    else:
        yield where, str(detail)
