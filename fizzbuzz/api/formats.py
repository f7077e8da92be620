"""Formats of the API: JSON, or DRF's browsable pages for browsers, by the weights of the header Accept."""

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable
from functools import lru_cache
from typing import IO, Any, NoReturn

from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.settings import api_settings

MAX_MEDIA_RANGES = 20  # of a header Accept; browsers send about eight
MAX_CONTAINERS = 100  # a valid body has two; 349,000 of them fit into 1 MiB, and take tenths of a second
MAX_SHOWN_ITEMS = 100  # a page with 10,000 takes a second to render

_MEDIA_RANGE = re.compile(r"[\w.+-]+/[\w.+-]+|[\w.+-]+/\*|\*/\*", re.ASCII)
_WEIGHT = re.compile(r"q=(0(\.[0-9]{0,3})?|1(\.0{0,3})?)")
_NOT_JSON = "The body is not valid JSON: "


class ContentNegotiation(DefaultContentNegotiation):
    """Chooses by the weights of Accept, which DRF ignores. Django's get_preferred_type takes what q=0 excludes."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))  # the gate in front of Django lets only JSON through

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        if request.META.get("QUERY_STRING") and (format_ := request.query_params.get(api_settings.URL_FORMAT_OVERRIDE)):
            renderers = self.filter_renderers(renderers, format_)
        choices = {each.media_type: each for each in renderers}
        chosen = _preferred(request.META.get("HTTP_ACCEPT", ""), tuple(choices))
        if not chosen:
            raise NotAcceptable
        return choices[chosen[0]], "".join(chosen)


@lru_cache(maxsize=64)  # few clients differ
def _preferred(accept: str, media_types: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the preferred media type and its parameters; None if none is acceptable.

    It is the one with the greatest weight; of several the first that is named, and then the first.
    """
    ranges = _parse(accept) or {"*/*": (1.0, "")}

    def rank(media_type: str) -> tuple[float, bool]:
        names = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        weight = next((ranges[name][0] for name in names if name in ranges), 0.0)
        return weight, media_type in ranges

    best = max(media_types, key=rank)
    return (best, ranges.get(best, (0, ""))[1]) if rank(best)[0] else None


def _parse(accept: str) -> dict[str, tuple[float, str]]:
    """Return weight and parameters of each media range; nothing if one is malformed, such as the `*; q=.2` of Java."""
    ranges = {}
    for each in filter(str.strip, accept.lower().split(",")[:MAX_MEDIA_RANGES]):
        name, *parameters = map(str.strip, each.split(";"))
        weight = next((each for each in parameters if each.startswith("q=")), "q=1")
        if not _MEDIA_RANGE.fullmatch(name) or not _WEIGHT.fullmatch(weight):
            return {}
        ranges[name] = (float(weight[2:]), "".join(f"; {each}" for each in parameters if each != weight))
    return ranges


class StrictJSONParser(JSONParser):
    """DRF's JSONParser; rejects duplicate names, NaN and Infinity."""

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        body: bytes = parser_context["request"].body  # the browsable page shows it after an error
        if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
            raise ParseError(f"The body contains more than {MAX_CONTAINERS} objects and arrays.")
        if body.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE)):
            raise ParseError("The body begins with a byte order mark. Send UTF-8 without one.")
        try:
            return _decode(body.decode())
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: byte {error.start + 1} is invalid.") from error
        except json.JSONDecodeError as error:
            raise ParseError(f"{_NOT_JSON}{error}.") from error
        except ValueError:  # from int(), for more than 4300 digits
            raise ParseError("The body contains a number with thousands of digits.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ParseError(f"{_NOT_JSON}an object contains a duplicate name.")
    return members


def _reject(constant: str) -> NoReturn:
    raise ParseError(f"{_NOT_JSON}{constant} is not a JSON value.")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_reject).decode  # json.loads makes one per call


class BrowsablePages(BrowsableAPIRenderer):
    def get_content(self, renderer: Any, data: Any, accepted_media_type: Any, renderer_context: Any) -> str:
        """Return the JSON to be shown; of a long list only its beginning."""
        if not isinstance(data, list) or len(data) <= MAX_SHOWN_ITEMS:
            return super().get_content(renderer, data, accepted_media_type, renderer_context)
        shown = super().get_content(renderer, data[:MAX_SHOWN_ITEMS], accepted_media_type, renderer_context)
        return f"{shown}\n\nThis page shows the first {MAX_SHOWN_ITEMS} of {len(data):,}; the JSON has all of them."

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """Return the form; after an error, with what was typed."""
        form = super().get_raw_data_form(data, view, method, request)
        if form and request.method == method and view.response.exception:
            form.initial["_content"] = request.body.decode(errors="replace")
        return form
