"""Base of the API's viewsets. It skips parts of DRF that took half of the CPU time of a request.

- Authentication, because the API has no accounts.
- Content negotiation (formats.py), which DRF repeats for each request, and without the weights of Accept.
- Template responses, unless the client wants a page: they take longer than the JSON itself.
"""

import json
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.settings import api_settings
from rest_framework.viewsets import ViewSet

from fizzbuzz.api.problems import InvalidQuery

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode  # shared: Python makes one per call


class Query(Serializer):
    """The query parameters of an action. Others are rejected, so that a misspelt one is not ignored."""

    others: tuple[str, ...] = ()  # parameters that are read elsewhere


NO_PARAMETERS = Query()


class BaseViewSet(ViewSet):
    queries: dict[str, Query] = {}  # by action

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action:  # not if the method is not allowed
            self.query = _validated(self.queries.get(self.action, NO_PARAMETERS), request)

    def perform_authentication(self, request: Request) -> None:
        pass


@cache
def _defaults(query: Query) -> dict[str, Any]:
    return dict(query.run_validation({}))


def _validated(query: Query, request: Request) -> dict[str, Any]:
    if not request.META.get("QUERY_STRING"):
        return _defaults(query)
    given, known = request.query_params, (*query.fields, *query.others)
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
        return dict(query.run_validation(given.dict()))
    except ValidationError as error:
        raise InvalidQuery(error.detail) from error


def answer(request: Request, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponseBase:
    """Return a response like DRF's Response. The data may contain only JSON types."""
    if request.accepted_media_type != JSONRenderer.media_type:  # a browser, or a program that wants it indented
        return Response(data, status, headers=headers)
    return HttpResponse(_encode(data).encode(), JSONRenderer.media_type, status, headers=headers)
