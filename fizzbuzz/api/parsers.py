"""JSON as the API takes it."""

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
        body: bytes = parser_context["request"].body  # the stream has no limit
        try:
            return json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, _NotJSON) as error:
            raise ParseError(f"The body is not valid JSON: {error}.") from error
        except ValueError:  # int() refuses so long a text
            raise ParseError("The body has a number of thousands of digits.") from None


class _NotJSON(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotJSON("a name stands twice in one object")
    return members


def _refuse(constant: str) -> NoReturn:
    raise _NotJSON(f"{constant} is not a JSON value")
