"""JSON parser of the API."""

from __future__ import annotations

import json
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class StrictJSONParser(JSONParser):
    """DRF's JSONParser with Django's size limit; rejects duplicate names, NaN and Infinity."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> Any:
        body: bytes = parser_context["request"].body  # enforces DATA_UPLOAD_MAX_MEMORY_SIZE; the stream does not
        try:
            return _decode(body.decode())
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, _NotJSON) as error:
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
