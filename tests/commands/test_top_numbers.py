from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from fizzbuzz import rules
from fizzbuzz.models import Submission

pytestmark = pytest.mark.django_db


def submit(*numbers: int) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in numbers)


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    submit(*[15] * 10, 7, 7, -3, -3, 5)

    call_command("top_numbers")

    assert capsys.readouterr().out == (
        "number  result    count\n"
        "    15  FizzBuzz     10\n"
        "    -3  Fizz          2\n"
        "     7  7             2\n"
    )  # fmt: skip


def test_json_preserves_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    submit(rules.SMALLEST, rules.LARGEST)

    call_command("top_numbers", "--format", "json")

    assert json.loads(capsys.readouterr().out) == [
        {"number": rules.SMALLEST, "result": str(rules.SMALLEST), "count": 1},
        {"number": rules.LARGEST, "result": str(rules.LARGEST), "count": 1},
    ]


def test_csv_has_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    submit(15, 7, 15)

    call_command("top_numbers", "--format=csv")

    assert capsys.readouterr().out == "number,result,count\n15,FizzBuzz,2\n7,7,1\n"


@pytest.mark.parametrize(
    ("format_", "text"),
    [("table", "No numbers have been submitted yet.\n"), ("json", "[]\n"), ("csv", "number,result,count\n")],
)
def test_empty_log(capsys: pytest.CaptureFixture[str], format_: str, text: str) -> None:
    call_command("top_numbers", "--format", format_)

    assert capsys.readouterr().out == text


@pytest.mark.parametrize("limit", ["1", "+02", "1000"])
def test_limit(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    submit(1, 2, 3, 4)

    call_command("top_numbers", "--limit", limit, "--format=csv")

    assert len(capsys.readouterr().out.splitlines()) == 1 + min(int(limit), 4)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "٣", str(2**63)], ids=ascii)
def test_invalid_limit_raises_command_error(limit: str) -> None:
    with pytest.raises(CommandError) as error:
        call_command("top_numbers", f"--limit={limit}")

    assert str(error.value) == f"Error: argument --limit: give a whole number from 1, not {limit!r}"


def test_unknown_format_raises_command_error() -> None:
    with pytest.raises(CommandError, match="argument --format: invalid choice: 'xml'"):
        call_command("top_numbers", "--format=xml")
