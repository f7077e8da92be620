"""Base of the API's viewsets: DRF's without the parts that this API does not use, which took half of the CPU time."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response, set_response_etag
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from fizzbuzz.api.problems import InvalidQuery

CONDITIONS = frozenset({"HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_UNMODIFIED_SINCE"})

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # shared: Python makes one per call


class BaseViewSet(ViewSet):
    """Viewset that rejects unknown query parameters, so that a misspelt one is not ignored."""

    list_parameters: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not request.META.get("QUERY_STRING") or not self.action:  # no action: the method is not allowed
            return
        known = self.list_parameters if self.action == "list" else ()
        if unknown := request.query_params.keys() - {*known, api_settings.URL_FORMAT_OVERRIDE}:
            accepts = f"the parameters {', '.join(known)}" if known else "no parameters"
            raise InvalidQuery({name: [f"Unknown parameter. This URL accepts {accepts}."] for name in sorted(unknown)})

    def perform_authentication(self, request: Request) -> None:
        """The API has no accounts."""

    def check_permissions(self, request: Request) -> None:
        """Everyone may do everything."""

    def check_throttles(self, request: Request) -> None:
        """The rate limit is a middleware."""


def answer(request: Request, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponseBase:
    """Return a response like DRF's Response. Plain JSON is encoded directly, because a template response takes longer.

    The data may contain only JSON types.
    """
    if request.accepted_media_type != JSONRenderer.media_type:  # a browser, or a program that wants it indented
        return Response(data, status, headers=headers)
    return HttpResponse(_encode(data).encode(), JSONRenderer.media_type, status, headers=headers)


def revalidated(request: Request, response: HttpResponseBase) -> HttpResponseBase:
    """Return the response with an ETag, or a 304 if it equals the If-None-Match header."""
    if isinstance(response, Response):
        response.add_post_render_callback(lambda rendered: _conditional(request, rendered))
        return response
    return _conditional(request, response)


def _conditional(request: Request, response: Any) -> HttpResponseBase:
    # Django documents neither function, and has no decorator that works after DRF has rendered.
    set_response_etag(response)
    if CONDITIONS.isdisjoint(request.META):
        return response  # type: ignore[no-any-return]
    conditional: Any = get_conditional_response(request, response.headers["ETag"], response=response)
    return conditional  # type: ignore[no-any-return]  # never None: there is a response


@cache
def _defaults(serializer: Serializer) -> dict[str, Any]:
    return dict(serializer.run_validation({}))


def validated_query(serializer: Serializer, request: Request) -> dict[str, Any]:
    """Return the query parameters, validated by the serializer. Raise InvalidQuery."""
    if not request.META.get("QUERY_STRING"):
        return _defaults(serializer)
    # Of two values one would silently be ignored.
    if twice := [name for name, values in request.query_params.lists() if len(values) > 1]:
        raise InvalidQuery({name: ["Give this parameter once."] for name in twice})
    # A QueryDict would be treated as an HTML form, where an empty field counts as missing.
    try:
        return dict(serializer.run_validation(request.query_params.dict()))
    except ValidationError as error:
        raise InvalidQuery(error.detail) from error
