"""Error responses of the API as problem details (RFC 9457), and their types, as listed at /docs/problems."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from django.http import JsonResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import MethodNotAllowed, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from fizzbuzz.request_id import request_id

CONTENT_TYPE = "application/problem+json"
MAX_ERRORS = 20  # looked for and listed in one response


class ProblemType(NamedTuple):
    slug: str
    status: int
    description: str

    @property
    def title(self) -> str:
        return {"internal-error": "Internal Server Error", "unavailable": "Service Unavailable"}.get(
            self.slug, self.slug.replace("-", " ").title()
        )


# Status, slug and description. If a status has several types, the first is its default.
_TABLE = {
    "400 bad-request": "The request is invalid, and recorded nothing. If members of the body or parameters are "
    "invalid, errors lists each of them and says what is accepted.",
    "404 not-found": "There is nothing at this URL: an id that does not exist, not a valid number, an invalid cursor, "
    "or an unknown URL.",
    "405 method-not-allowed": "This URL does not support the method; the header Allow lists those it supports. "
    "Submissions cannot be changed or deleted.",
    "406 not-acceptable": "The header Accept does not allow JSON or HTML. This request recorded nothing.",
    "408 request-timeout": "The body was incomplete or arrived too slowly. This request recorded nothing; send it "
    "again.",
    "409 key-in-progress": "Another request with the same Idempotency-Key is still in progress. Try again with the "
    "same key in a moment.",
    "411 length-required": "The request needs the header Content-Length. This request recorded nothing.",
    "412 precondition-failed": "The condition in the header If-Match or If-Unmodified-Since is not met.",
    "413 content-too-large": "The body exceeds the size given in detail. This request recorded nothing; split it into "
    "smaller requests.",
    "415 unsupported-media-type": "This URL does not support the Content-Type, charset or Content-Encoding of the "
    "body. This request recorded nothing; send application/json in UTF-8.",
    "422 key-reused": "This Idempotency-Key was already used with a different body. This request recorded nothing; use "
    "a new key for each request.",
    "429 too-many-requests": "Rate limit exceeded (see RateLimit-Policy), or too many expensive requests at the same "
    "time. Nothing was recorded; try again after the number of seconds in Retry-After.",
    "500 internal-error": "Something failed in the service. If it persists, contact the operator.",
    "503 unavailable": "The database is unavailable or busy, or the counts are catching up with the log; see detail. "
    "Try again after the number of seconds in Retry-After.",
    "503 not-recorded": "This request recorded nothing: the database is unavailable, busy, or out of memory or disk "
    "space. Try again after the number of seconds in Retry-After. An earlier request with the same Idempotency-Key may "
    "have been recorded.",
    "503 outcome-unknown": "The database did not confirm that it stored the submission, which may or may not have been "
    "recorded. If you send it again, it may count twice; with the same Idempotency-Key, it counts once.",
}

PROBLEM_TYPES = [ProblemType(key[4:], int(key[:3]), description) for key, description in _TABLE.items()]
BY_SLUG = {each.slug: each for each in PROBLEM_TYPES}
BY_STATUS = {each.status: each for each in reversed(PROBLEM_TYPES)}


class InvalidQuery(ValidationError):
    """A query parameter is invalid."""


class ErrorSerializer(serializers.Serializer):
    detail = serializers.CharField()
    pointer = serializers.CharField(required=False, help_text="JSON pointer to the member of the body.")
    parameter = serializers.CharField(required=False, help_text="Name of the query parameter.")


class ProblemSerializer(serializers.Serializer):
    """An error, as problem details (RFC 9457)."""

    type = serializers.CharField(help_text="URL of the description of this problem type.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField(help_text="Path of the request.")
    request_id = serializers.CharField(help_text="Include it when you report a problem. Same as X-Request-ID.")
    outcome = serializers.ChoiceField(
        choices=["not-recorded", "outcome-unknown"],
        required=False,
        help_text="With 503 and 500: whether the submission was recorded.",
    )
    errors = ErrorSerializer(many=True, required=False)  # type: ignore[assignment]  # hides a property that is not used here


def problem(status: int, detail: str, path: str, **more: Any) -> dict[str, Any]:
    """Return the members of a problem: its type follows from the outcome, if that fits the status, or the status."""
    problem_type = BY_SLUG.get(more.get("outcome", ""))
    if problem_type is None or problem_type.status != status:
        problem_type = BY_STATUS[status]
    return {
        "type": f"{reverse('problems')}#{problem_type.slug}",
        "title": problem_type.title,
        "status": status,
        "detail": detail,
        "instance": path,
        "request_id": request_id.get(),
        **more,
    }


def problems(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """Return the responses of an OpenAPI operation for these error statuses."""
    return {(status, CONTENT_TYPE): OpenApiResponse(ProblemSerializer, BY_STATUS[status].title) for status in statuses}


def problem_response(
    status: int, detail: str, path: str, headers: dict[str, str] | None = None, **more: Any
) -> JsonResponse:
    """Return a problem response for an error that DRF does not make."""
    body = problem(status, detail, path, **more)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=headers)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Convert DRF's error responses to problem details, for JSON and for the browsable pages."""
    response = drf_exception_handler(error, context)
    if response is None:
        return None
    request, more = context["request"], {}
    if isinstance(error, ValidationError):
        source, root = ("parameter", "") if isinstance(error, InvalidQuery) else ("pointer", "#")
        found = islice(_flatten(error.detail, root), MAX_ERRORS)
        more["errors"] = errors = [{source: where.removeprefix("/"), "detail": text} for where, text in found]
        detail = errors[0]["detail"] if len(errors) < MAX_ERRORS else f"The first {MAX_ERRORS} errors are listed."
    elif isinstance(error, MethodNotAllowed):
        detail = f"Method not allowed; use {', '.join(context['view'].allowed_methods)}."
    else:
        detail = response.data["detail"]
    response.data = problem(response.status_code, detail, request.path, **more)
    if getattr(getattr(request, "accepted_renderer", None), "format", None) != "api":  # a 406 has no renderer
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
        response.content_type = CONTENT_TYPE
    return response


def _flatten(detail: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield each message of DRF's nested error details with its pointer or parameter."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from _flatten(value, where if key == "non_field_errors" else f"{where}/{key}")
    else:
        yield from ((where, str(each)) for each in detail)
