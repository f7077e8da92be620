"""Content negotiation by the weights of the header Accept, which DRF ignores. Few clients differ, so it is cached."""

import re
from collections.abc import Iterable
from functools import lru_cache

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings

MAX_MEDIA_RANGES = 20  # of a header Accept; browsers send about eight

_MEDIA_RANGE = re.compile(r"[\w.+-]+/[\w.+-]+|[\w.+-]+/\*|\*/\*", re.ASCII)
_WEIGHT = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")


class ContentNegotiation(DefaultContentNegotiation):
    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))  # the gate in front of Django lets only JSON through

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        if request.META.get("QUERY_STRING") and (format_ := request.query_params.get(api_settings.URL_FORMAT_OVERRIDE)):
            renderers = self.filter_renderers(renderers, format_)
        choices = tuple(renderers)
        chosen = _preferred(request.META.get("HTTP_ACCEPT", ""), tuple(each.media_type for each in choices))
        if not chosen:
            raise NotAcceptable(available_renderers=choices)
        return choices[chosen[0]], chosen[1]


@lru_cache(maxsize=64)
def _preferred(accept: str, media_types: tuple[str, ...]) -> tuple[int, str] | None:
    """Return the index of the preferred media type, and the type with its parameters; None if none is acceptable.

    It is the one with the greatest weight; of several the first that is named, and then the first.
    """
    ranges = _parse(accept) or {"*/*": (1.0, "")}

    def rank(index: int) -> tuple[float, bool]:
        main, _, _ = media_types[index].partition("/")
        name = next((each for each in (media_types[index], f"{main}/*", "*/*") if each in ranges), None)
        return (ranges[name][0], name == media_types[index]) if name else (0, False)

    best = max(range(len(media_types)), key=rank)
    _, parameters = ranges.get(media_types[best], (0, ""))
    return (best, media_types[best] + parameters) if rank(best)[0] else None


def _parse(accept: str) -> dict[str, tuple[float, str]]:
    """Return weight and parameters of each media range; nothing if one is malformed, as in Java's default header."""
    ranges = {}
    for each in filter(str.strip, accept.lower().split(",")[:MAX_MEDIA_RANGES]):
        name, *parameters = map(str.strip, each.split(";"))
        weight = next((each for each in parameters if each.startswith("q=")), "q=1")
        if not _MEDIA_RANGE.fullmatch(name) or not _WEIGHT.fullmatch(weight):
            return {}
        ranges[name] = (float(weight[2:]), "".join(f"; {each}" for each in parameters if each != weight))
    return ranges
