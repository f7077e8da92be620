"""The rules of FizzBuzz: classify numbers and parse input. Pure: no Django, no I/O."""

import re
import unicodedata
from enum import StrEnum
from math import lcm

SMALLEST = -(2**63)
LARGEST = 2**63 - 1
EXPECTED = f"Enter a whole number from {SMALLEST} to {LARGEST}, such as 15 or -3."

_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_UNUSUAL = re.compile(r"[^!-~]")  # not visible ASCII
_DECIMAL = re.compile(r"[+-]?[0-9]+[.eE][0-9eE+-]*")
_GROUPED = re.compile(r"[+-]?[0-9]+([,._'][0-9]+)+")


class Kind(StrEnum):
    """The class of a number, as used by filters, labels and styles."""

    FIZZ = "Fizz"
    BUZZ = "Buzz"
    FIZZBUZZ = "FizzBuzz"
    NUMBER = "Number"


# The only definition of the divisors. A number is of the first kind all of whose divisors divide it. Counts by minute
# and kind that were folded before a change keep the old kinds until `manage.py top_numbers --rebuild`.
DIVISORS: dict[Kind, tuple[int, ...]] = {
    Kind.FIZZBUZZ: (3, 5),
    Kind.FIZZ: (3,),
    Kind.BUZZ: (5,),
}
_PERIOD = lcm(*(divisor for divisors in DIVISORS.values() for divisor in divisors))


class InvalidNumber(ValueError):
    """The input is not a whole number in the signed 64-bit range. The message says why, and what is accepted."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"{reason} {EXPECTED}".lstrip())


def _kind_of_remainder(remainder: int) -> Kind:
    for kind, divisors in DIVISORS.items():
        if not any(remainder % divisor for divisor in divisors):
            return kind
    return Kind.NUMBER


_KINDS = [_kind_of_remainder(remainder) for remainder in range(_PERIOD)]


def classify(number: int) -> Kind:
    """Return the kind of a number. Zero is FizzBuzz."""
    return _KINDS[number % _PERIOD]


def kind_and_result(number: int) -> tuple[Kind, str]:
    """Return the kind of a number and the text shown to users: the kind, or the number itself if that is `Number`."""
    kind = _KINDS[number % _PERIOD]
    return kind, str(number if kind is Kind.NUMBER else kind)


def divisibility(number: int) -> str:
    """Return which divisors divide the number, as the end of a sentence that begins with "It is"."""
    divisors = sorted({divisor for each in DIVISORS.values() for divisor in each})
    its = " and ".join(str(divisor) for divisor in divisors if number % divisor == 0)
    others = " nor ".join(str(divisor) for divisor in divisors if number % divisor)
    if not its:
        return f"divisible by neither {others}"
    return f"divisible by {its}, not by {others}" if others else f"divisible by {its}"


def without_invisible_ends(text: str) -> str:
    """Return a text that a person pasted, without the blanks and the invisible format characters around it."""
    return text.strip("".join({each for each in text if each.isspace() or unicodedata.category(each) == "Cf"}))


def parse_number(value: object) -> int:
    """Return an int in the signed 64-bit range, given such an int or its text (ASCII digits, optional sign).

    Raise InvalidNumber for everything else: booleans, floats, spaces, digits of other scripts.
    """
    if isinstance(value, str):
        if not (match := _INTEGER.fullmatch(value)):
            raise InvalidNumber(_reason(value))
        sign, digits = match.groups()
        # int() is slow on long text; 20 digits are out of range already.
        value = int(sign + (digits.lstrip("0")[:20] or "0"))
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidNumber(_reason(str(value)) if isinstance(value, float) else "")
    if not SMALLEST <= value <= LARGEST:
        raise InvalidNumber("The number is too large." if value > 0 else "The number is too small.")
    return value


def _reason(text: str) -> str:
    """Return why a text is not a number, or nothing if it does not look like one."""
    if not text:
        return "The number is missing."
    if unusual := _UNUSUAL.search(text):
        name = unicodedata.name(unusual[0], "character").lower().replace("fullwidth", "full-width")
        return f"It contains {'an' if name[0] in 'aeiou' else 'a'} {name} U+{ord(unusual[0]):04X}."
    if _DECIMAL.fullmatch(text):
        return "It has a decimal point or an exponent."
    return "It has separators between its digits." if _GROUPED.fullmatch(text) else ""
