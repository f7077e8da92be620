"""Parsers of the options that commands share."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar

from fizzbuzz import rules, times

T = TypeVar("T")


def _option(parse: Callable[[str], T], expected: str = "") -> Callable[[str], T]:
    """Return a `type` for argparse: its errors are those of `parse`, or say what is expected."""

    def parse_option(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(f"give {expected}, not {text!r}" if expected else str(error)) from None

    return parse_option


def _parse_limit(text: str) -> int:
    if (value := rules.parse_number(text)) < 1:
        raise ValueError
    return value


number_option = _option(rules.parse_number)
limit_option = _option(_parse_limit, "a whole number from 1")
time_option = _option(times.parse_time)
