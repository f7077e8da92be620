"""What commands print: the log and the most common numbers, exact in each format; and errors of their options."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from fizzbuzz import exporting, rules
from fizzbuzz.models import Submission
from tests.log import append, create_submissions
from tests.marks import commits

pytestmark = pytest.mark.django_db

ROWS = [(-3, 15), (-2, -7), (-1, rules.LARGEST)]  # ids below those of the sequence
AT = "2026-01-31T12:00:00.120000Z"


@pytest.fixture
def log() -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO fizzbuzz_submission (id, number, created_at) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s)",
            [(*row, AT) for row in ROWS],
        )


CSV = f"""\
id,number,result,kind,created_at
-3,15,FizzBuzz,FizzBuzz,{AT}
-2,-7,-7,Number,{AT}
-1,9223372036854775807,9223372036854775807,Number,{AT}
"""
LARGEST = '"number":9223372036854775807,"result":"9223372036854775807"'
JSON_LINES = f"""\
{{"id":-3,"number":15,"result":"FizzBuzz","kind":"FizzBuzz","created_at":"{AT}"}}
{{"id":-2,"number":-7,"result":"-7","kind":"Number","created_at":"{AT}"}}
{{"id":-1,{LARGEST},"kind":"Number","created_at":"{AT}"}}
"""


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(("format_", "printed"), [("csv", CSV), ("jsonl", JSON_LINES)])
def test_export_formats(
    capsys: pytest.CaptureFixture[str], settings: Any, format_: str, printed: str, *, debug: bool
) -> None:
    settings.DEBUG = debug  # another class of cursors

    call_command("export_submissions", "--format", format_)

    assert capsys.readouterr().out == printed


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--number", "-7"], [-2]),
        (["--number=1"], []),
        (["--kind=Number"], [-2, -1]),
        (["--kind=FizzBuzz", "--number=15"], [-3]),
    ],
)
def test_export_filters(capsys: pytest.CaptureFixture[str], options: list[str], ids: list[int]) -> None:
    call_command("export_submissions", *options)

    _, *rows = capsys.readouterr().out.splitlines()
    assert [int(row.partition(",")[0]) for row in rows] == ids


def test_exported_kind_and_result_equal_those_of_the_rules() -> None:
    numbers = [*range(-31, 32), rules.SMALLEST]
    append(*numbers)

    text = b"".join(exporting.export_submissions(Submission.objects.all(), "csv")).decode()

    exported = [(row["number"], row["kind"], row["result"]) for row in csv.DictReader(io.StringIO(text))]
    assert exported == [(str(number), rules.classify(number), rules.kind_and_result(number)[1]) for number in numbers]


@commits
def test_exported_blocks_are_small_and_end_with_a_row() -> None:
    append(*range(10_000))

    blocks = list(exporting.export_submissions(Submission.objects.all(), "csv"))
    closed_early = exporting.export_submissions(Submission.objects.all(), "csv")
    next(closed_early)
    closed_early.close()

    assert len(blocks) > 5
    assert all(len(block) < exporting.MIN_BLOCK_BYTES + 200 for block in blocks)
    assert b"".join(blocks).count(b"\n") == 10_001
    assert Submission.objects.count() == 10_000  # the connection is usable


@commits
def test_export_can_be_imported(log: None, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    with file.open("w") as out:
        call_command("export_submissions", stdout=out)

    call_command("import_numbers", str(file), "--column=number")

    numbers = Submission.objects.order_by("id").values_list("number", flat=True)
    assert sorted(numbers) == sorted(2 * [number for _, number in ROWS])


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
def test_top_numbers(capsys: pytest.CaptureFixture[str], numbers: list[int], options: list[str], printed: str) -> None:
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
