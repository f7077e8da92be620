import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fizzbuzz import rules

REJECTED: list[object] = [
    15.5, 15.0, float("nan"), True, False, None, [], {}, b"15",
    "", " ", " 15", "15 ", "15\n", "1_000", "1,000", "0x10", "1e3", "15.0", "+", "-", "--1", "+-1", "٣", "１５", "²",
    "NaN", "∞", "1\x00", "\u202e15", "\ud800", 2**63, -(2**63) - 1, str(2**63), str(-(2**63) - 1), "9" * 10_000,
]  # fmt: skip
int64 = st.integers(rules.SMALLEST, rules.LARGEST)


@given(int64)
@example(0)
@example(-15)
def test_kind_and_result_are_the_definition(number: int) -> None:
    fizz, buzz = number % 3 == 0, number % 5 == 0
    result = "Fizz" * fizz + "Buzz" * buzz

    assert rules.classify(number) == (result or "Number")
    assert rules.kind_and_result(number) == (result or "Number", result or str(number))


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


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "The number is missing. "),
        ("1,000", "It has separators between its digits. "),
        ("1.000.000", "It has separators between its digits. "),
        ("1_000", "It has separators between its digits. "),
        ("15.0", "It has a decimal point or an exponent. "),
        ("-1e3", "It has a decimal point or an exponent. "),
        (1e3, "It has a decimal point or an exponent. "),
        (2**63, "The number is too large. "),
        ("9" * 5_000, "The number is too large. "),
        (-(2**63) - 1, "The number is too small. "),
        ("-" + "9" * 5_000, "The number is too small. "),
        ("1 000", "It contains a space U+0020. "),
        ("15\u200b", "It contains a zero width space U+200B. "),
        ("１５", "It contains a full-width digit one U+FF11. "),
        ("٣", "It contains an arabic-indic digit three U+0663. "),
        ("−15", "It contains a minus sign U+2212. "),
        ("–15", "It contains an en dash U+2013. "),
        ("\x0015", "It contains a character U+0000. "),
        ("fifteen", ""),
        (True, ""),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_parse_number_says_why(value: object, reason: str) -> None:
    with pytest.raises(rules.InvalidNumber) as error:
        rules.parse_number(value)

    assert str(error.value) == reason + rules.EXPECTED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "15") for text in ("\u202c15", " 15\u200b\t", "\ufeff\xa015\xad\r\n", "\u206615\u2069", "15")),
        (" 1\xad \u200b5. ", "1\xad \u200b5."),
    ],
)
def test_only_invisible_ends_are_removed(text: str, expected: str) -> None:
    assert rules.without_invisible_ends(text) == expected


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
def test_divisibility_lists_the_divisors(number: int, words: str) -> None:
    assert rules.divisibility(number) == words
