"""Content negotiation with a shortcut for API clients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """DRF's negotiation, skipped if the client accepts anything or the first renderer: saves 10% of a POST's CPU."""

    def select_renderer(self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: Any = None) -> Any:
        first, *_ = renderers
        if request.META.get("HTTP_ACCEPT", "*/*") in {"*/*", first.media_type} and not request.META.get("QUERY_STRING"):
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)
