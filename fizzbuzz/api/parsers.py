"""JSON as the API takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

LARGEST_BODY = 1024 * 1024  # bytes; 10,000 of the longest numbers take 230 thousand


class BodyTooLarge(APIException):
    status_code = 413
    default_detail = f"The body is larger than {LARGEST_BODY} bytes."
    default_code = "too_large"


class StrictJSONParser(JSONParser):
    """As DRF's, but bounded, and deaf to what other readers of the same body may read differently."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(LARGEST_BODY + 1)
        if len(body) > LARGEST_BODY:
            raise BodyTooLarge
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
