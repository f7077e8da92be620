"""JSON parser of the API."""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

MAX_CONTAINERS = 100  # a valid body has two; 349,000 of them fit into 1 MiB, and take tenths of a second


class StrictJSONParser(JSONParser):
    """DRF's JSONParser; rejects duplicate names, NaN and Infinity."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> Any:
        body: bytes = parser_context["request"].body  # the browsable page shows it after an error
        if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
            raise ParseError(f"The body contains more than {MAX_CONTAINERS} objects and arrays.")
        try:
            return _decode(body.decode())
        except (json.JSONDecodeError, UnicodeDecodeError, _NotJSON) as error:
            if body.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE)):
                raise ParseError("The body begins with a byte order mark. Send UTF-8 without one.") from error
            if isinstance(error, UnicodeDecodeError):
                raise ParseError(f"The body is not UTF-8: byte {error.start + 1} is invalid.") from error
            raise ParseError(f"The body is not valid JSON: {error}.") from error
        except ValueError:  # from int(), for more than 4300 digits
            raise ParseError("The body contains a number with thousands of digits.") from None


class _NotJSON(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotJSON("an object contains a duplicate name")
    return members


def _reject(constant: str) -> NoReturn:
    raise _NotJSON(f"{constant} is not a JSON value")


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_reject).decode  # json.loads makes one per call
