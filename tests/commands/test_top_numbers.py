"""`top_numbers` prints exact numbers in each format, and rejects invalid options."""

import re

import pytest
from django.core.management import CommandError, call_command

from fizzbuzz import rules
from tests.log import create_submissions

pytestmark = pytest.mark.django_db

TABLE = """\
number  result    count
    15  FizzBuzz     10
    -3  Fizz          2
     7  7             2
"""
JSON = (
    '[{"number": -9223372036854775808, "result": "-9223372036854775808", "count": 1}, '
    '{"number": 9223372036854775807, "result": "9223372036854775807", "count": 1}]\n'
)


@pytest.mark.parametrize(
    ("numbers", "options", "printed"),
    [
        ([15] * 10 + [7, 7, -3, -3, 5], [], TABLE),
        ([rules.SMALLEST, rules.LARGEST], ["--format=json"], JSON),
        ([15, 7, 15], ["--format=csv"], "number,result,count\n15,FizzBuzz,2\n7,7,1\n"),
        ([], [], "No numbers have been submitted yet.\n"),
        ([], ["--format=json"], "[]\n"),
        ([], ["--format=csv"], "number,result,count\n"),
        ([1, 2], ["--format=csv", "--limit=+01"], "number,result,count\n1,1,1\n"),
        ([1, 2], ["--format=csv", "--limit=1000"], "number,result,count\n1,1,1\n2,2,1\n"),
    ],
)
def test_output(capsys: pytest.CaptureFixture[str], numbers: list[int], options: list[str], printed: str) -> None:
    create_submissions(*numbers)

    call_command("top_numbers", *options)

    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("command", "options", "problem"),
    [
        *(
            ("top_numbers", [f"--limit={limit}"], f"Error: argument --limit: give a whole number from 1, not {limit!r}")
            for limit in ("0", "-1", "x", "1.5", "", "٣", str(2**63))
        ),
        ("top_numbers", ["--until=noon"], "Error: argument --until: Enter a time as in RFC 3339, "),
        ("top_numbers", ["--since=1704051122334"], "Error: argument --since: A number of seconds or milliseconds is "),
        ("top_numbers", ["--since=2026-02-01", "--until=2026-01-31"], "since is after until."),
        ("export_submissions", ["--number=x"], f"Error: argument --number: {rules.EXPECTED}"),
    ],
)
def test_invalid_option_raises_command_error(command: str, options: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=f"^{re.escape(problem)}"):
        call_command(command, *options)
