"""Parsers of the options that commands share."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime

from fizzbuzz import rules


def number(text: str) -> int:
    try:
        return rules.parse_number(text)
    except rules.InvalidNumber as error:
        raise ArgumentTypeError(str(error)) from None


def limit(text: str) -> int:
    """Parse a whole number >= 1."""
    try:
        value = rules.parse_number(text)
    except rules.InvalidNumber:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"give a whole number from 1, not {text!r}")
    return value


def moment(text: str) -> datetime:
    """Parse a time in ISO 8601; without an offset it is UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"give a time such as 2026-01-31 or 2026-01-31T12:00:00Z, not {text!r}") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
