"""`manage.py top_numbers`: print the most common numbers, and verify or rebuild the counts."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from fizzbuzz import times
from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.exporting import export_rows
from fizzbuzz.management.options import limit_option, time_option
from fizzbuzz.models import NumberWithCount, Submission

COLUMNS = ("number", "result", "count")


def as_table(rows: list[tuple[int, str, int]]) -> str:
    if not rows:
        return "No numbers have been submitted yet.\n"
    lines = [COLUMNS, *rows]
    number, result, count = (max(len(str(cell)) for cell in column) for column in zip(*lines, strict=True))
    return "".join(f"{line[0]:>{number}}  {line[1]:<{result}}  {line[2]:>{count}}\n" for line in lines)


class Command(BaseCommand):
    help = "Prints the most common numbers, most common first; on a tie the smaller number comes first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--limit", type=limit_option, default=3, metavar="N", help="how many numbers (default: 3)")
        parser.add_argument("--format", choices=["table", "json", "csv"], default="table", help="default: table")
        for name, which in (("--since", "from this time on"), ("--until", "before this time")):
            text = f"only submissions {which} (RFC 3339, UTC)"
            parser.add_argument(name, type=time_option, metavar="TIME", help=text)
        checks = parser.add_mutually_exclusive_group()
        checks.add_argument(
            "--verify", action="store_true", help="compare the stored counts with the log; exit code 1 if any differ"
        )
        checks.add_argument(
            "--rebuild",
            action="store_true",
            help="recount the log and repair the stored counts; the service may keep running",
        )

    def handle(self, *, verify: bool, rebuild: bool, **options: Any) -> None:
        if verify:
            self._verify()
        elif rebuild:
            self._rebuild()
        else:
            self._print(**options)

    def _print(self, *, limit: int, since: datetime | None, until: datetime | None, **options: Any) -> None:
        if since and until and since > until:
            raise CommandError(times.REVERSED)
        if since or until:  # without a time limit, unlike in the API: it blocks no other reader
            top = [NumberWithCount(*row) for row in Submission.objects.between(since, until).counted()[:limit]]
        else:
            top = ranking.top(limit)
        rows = [(each.number, each.result, each.count) for each in top]
        format_ = options["format"]
        text = as_table(rows) if format_ == "table" else export_rows(COLUMNS, rows, format_).decode()
        self.stdout.write(text, ending="")

    def _verify(self) -> None:
        differences = verify.verify()
        for what, counted, rolled_up in differences:
            self.stdout.write(f"{what}: the log has {counted}, the stored count is {rolled_up}")
        if differences:
            raise CommandError(f"{len(differences)} counts differ. Repair them with top_numbers --rebuild.")
        self.stdout.write("All counts match the log.")

    def _rebuild(self) -> None:
        try:
            repaired = verify.rebuild()
        except verify.NotRebuilt as error:
            raise CommandError(str(error)) from error
        while folding.fold() == folding.MAX_ROWS_PER_FOLD:
            pass  # fold the rows recorded during the rebuild
        self.stdout.write(f"{repaired} counts repaired.")
