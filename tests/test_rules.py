from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fizzbuzz import rules
from tests.inputs import REJECTED

int64 = st.integers(rules.SMALLEST, rules.LARGEST)


@given(int64)
def test_classify_is_the_definition(number: int) -> None:
    expected = {
        (True, True): "FizzBuzz",
        (True, False): "Fizz",
        (False, True): "Buzz",
        (False, False): "Number",
    }[number % 3 == 0, number % 5 == 0]

    assert rules.classify(number) == expected


@given(int64)
def test_result_is_the_kind_or_the_number_itself(number: int) -> None:
    divisible = number % 3 == 0 or number % 5 == 0

    assert rules.result(number) == (rules.classify(number).value if divisible else str(number))


@pytest.mark.parametrize(
    ("number", "result"),
    [(0, "FizzBuzz"), (-3, "Fizz"), (-5, "Buzz"), (-15, "FizzBuzz"), (-7, "-7"), (1, "1")],
)
def test_zero_and_negative_numbers_are_classified(number: int, result: str) -> None:
    assert rules.result(number) == result


@given(int64, st.sampled_from(["", "0", "000"]))
def test_parse_number_round_trips(number: int, zeros: str) -> None:
    sign, digits = ("-" if number < 0 else ""), str(abs(number))

    assert rules.parse_number(number) == number
    assert rules.parse_number(f"{sign}{zeros}{digits}") == number


@pytest.mark.parametrize(("text", "number"), [("+7", 7), ("-0", 0), ("0" * 9_000 + "7", 7)])
def test_parse_number_accepts_signs_and_leading_zeros(text: str, number: int) -> None:
    assert rules.parse_number(text) == number


@pytest.mark.parametrize("value", REJECTED, ids=ascii)
def test_parse_number_rejects_other_values(value: object) -> None:
    with pytest.raises(rules.InvalidNumber, match="Enter a whole number from -9223372036854775808 to 92233720368"):
        rules.parse_number(value)


@given(st.text())
def test_parse_number_accepts_only_ascii_digits_with_a_sign(text: str) -> None:
    try:
        number = rules.parse_number(text)
    except rules.InvalidNumber:
        return

    assert text.isascii()
    assert int(text) == number


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (15, "divisible by 3 and 5"),
        (0, "divisible by 3 and 5"),
        (-9, "divisible by 3, not by 5"),
        (20, "divisible by 5, not by 3"),
        (7, "divisible by neither 3 nor 5"),
    ],
)
def test_why_lists_the_divisors(number: int, words: str) -> None:
    assert rules.why(number) == words
