"""What a number is, and what it is called. Pure: no Django, no I/O."""

from __future__ import annotations

import re
from enum import StrEnum
from math import lcm

SMALLEST = -(2**63)
LARGEST = 2**63 - 1
EXPECTED = f"Enter a whole number from {SMALLEST} to {LARGEST}, such as 15 or -3."

_DIGITS = re.compile(r"([+-]?)([0-9]+)", re.ASCII)
_LONGEST = len(str(LARGEST))


class Kind(StrEnum):
    """The class of a number: what filters, labels and styles use."""

    FIZZ = "Fizz"
    BUZZ = "Buzz"
    FIZZBUZZ = "FizzBuzz"
    NUMBER = "Number"


# The one place that knows the divisors: a number divisible by all of a kind's,
# and by none of the rest, is of that kind.
DIVISORS: dict[Kind, tuple[int, ...]] = {
    Kind.FIZZBUZZ: (3, 5),
    Kind.FIZZ: (3,),
    Kind.BUZZ: (5,),
}
_MULTIPLES_OF = {kind: lcm(*divisors) for kind, divisors in DIVISORS.items()}


class InvalidNumber(ValueError):
    """What was sent is no whole number in signed 64-bit range. Its text says what is accepted."""

    def __init__(self) -> None:
        super().__init__(EXPECTED)


def classify(number: int) -> Kind:
    """The kind of a number; zero is a FizzBuzz."""
    for kind, divisor in _MULTIPLES_OF.items():
        if number % divisor == 0:
            return kind
    return Kind.NUMBER


def described(number: int) -> tuple[Kind, str]:
    """The kind of a number, and its result."""
    kind = classify(number)
    return kind, str(number) if kind is Kind.NUMBER else kind.value


def result(number: int) -> str:
    """What a person reads: the kind, or the number itself where the kind is `Number`."""
    return described(number)[1]


def why(number: int) -> str:
    """Which of the divisors make it what it is: what goes behind "It is"."""
    divisors = sorted({divisor for each in DIVISORS.values() for divisor in each})
    its = " and ".join(str(divisor) for divisor in divisors if number % divisor == 0)
    others = " nor ".join(str(divisor) for divisor in divisors if number % divisor)
    if not its:
        return f"divisible by neither {others}"
    return f"divisible by {its}, not by {others}" if others else f"divisible by {its}"


def parse_number(value: object) -> int:
    """An int in signed 64-bit range, from such an int or its text (ASCII digits, optional sign).

    Raises InvalidNumber for everything else: booleans, floats, spaces, other scripts' digits.
    """
    if isinstance(value, str) and (match := _DIGITS.fullmatch(value)):
        sign, digits = match.groups()
        digits = digits.lstrip("0") or "0"
        if len(digits) > _LONGEST:  # int() refuses very long text, and takes long for it
            raise InvalidNumber
        value = int(sign + digits)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidNumber
    if not SMALLEST <= value <= LARGEST:
        raise InvalidNumber
    return value
