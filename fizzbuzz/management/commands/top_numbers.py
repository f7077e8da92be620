"""`manage.py top_numbers`: the most common numbers."""

from __future__ import annotations

import csv
import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, OutputWrapper

from fizzbuzz import rules
from fizzbuzz.models import NumberWithCount, Submission

COLUMNS = ("number", "result", "count")


def limit(text: str) -> int:
    """A whole number from 1."""
    try:
        value = rules.parse_number(text)
    except rules.InvalidNumber:
        value = 0
    if value < 1:
        raise ArgumentTypeError(f"give a whole number from 1, not {text!r}")
    return value


def write_table(top: list[NumberWithCount], out: OutputWrapper) -> None:
    if not top:
        out.write("No numbers have been submitted yet.")
        return
    rows = [COLUMNS, *(_row(each) for each in top)]
    number, result, count = (max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True))
    for row in rows:
        out.write(f"{row[0]:>{number}}  {row[1]:<{result}}  {row[2]:>{count}}")


def write_json(top: list[NumberWithCount], out: OutputWrapper) -> None:
    out.write(json.dumps([dict(zip(COLUMNS, _row(each), strict=True)) for each in top]))


def write_csv(top: list[NumberWithCount], out: OutputWrapper) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(each) for each in top)


def _row(each: NumberWithCount) -> tuple[int, str, int]:
    return each.number, each.result, each.count


FORMATS: dict[str, Callable[[list[NumberWithCount], OutputWrapper], None]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}


class Command(BaseCommand):
    help = "Prints the most common numbers, most common first; of equally common ones the smaller comes first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--limit", type=limit, default=3, metavar="N", help="how many numbers (default: 3)")
        parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")

    def handle(self, *, limit: int, format: str, **options: Any) -> None:  # noqa: A002 - the option's name
        FORMATS[format](Submission.objects.most_common(limit), self.stdout)
