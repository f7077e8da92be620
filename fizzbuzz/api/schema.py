"""View of the OpenAPI document."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


@method_decorator(conditional_page, "dispatch")
class SchemaView(SpectacularAPIView):
    """Generates and renders the document once per process and format, which takes tenths of a second."""

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
