"""The OpenAPI document: its view, and parameters that no serializer describes."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiParameter, extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request

from fizzbuzz.api.serializers import INTEGER

NUMBER_PARAMETER = OpenApiParameter("number", INTEGER, OpenApiParameter.PATH, description="A whole number.")
KEY_PARAMETER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": r'^("[!#-~]{1,255}"|[!#-+\--~]{1,255})$'},
    OpenApiParameter.HEADER,
    description=(
        "A request that is repeated with the same key within 24 hours is recorded once: the response is that of the "
        "first request, with the header `Idempotency-Replayed`. Use a random key: anyone who knows a key can read "
        "what was recorded with it."
    ),
)


@method_decorator(conditional_page, "dispatch")
class SchemaView(SpectacularAPIView):
    """Renders the document, which takes tenths of a second, once per process and format."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: Any = request.accepted_renderer
        content_type = f"{renderer.media_type}; charset={renderer.charset}" if renderer.charset else renderer.media_type
        headers = {"Content-Disposition": f'inline; filename="FizzBuzz.{renderer.format}"'}
        return HttpResponse(_document(renderer.__class__), content_type, headers=headers)


@cache
def _document(renderer: Any) -> bytes:
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # drf-spectacular has no annotations
    return renderer().render(schema, renderer_context={})
