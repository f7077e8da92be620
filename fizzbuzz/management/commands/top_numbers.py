"""`manage.py top_numbers`: print the most common numbers, and verify or rebuild the counts."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any, Literal

from django.core.management.base import BaseCommand, CommandError

from fizzbuzz import times
from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.exporting import export_rows
from fizzbuzz.management import options
from fizzbuzz.models import Submission

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
        parser.add_argument("--limit", type=options.limit, default=3, metavar="N", help="how many numbers (default: 3)")
        parser.add_argument("--format", choices=["table", "json", "csv"], default="table", help="default: table")
        for name, which in (("--since", "from this time on"), ("--until", "before this time")):
            parser.add_argument(
                name, type=options.moment, metavar="TIME", help=f"only submissions {which} (RFC 3339, UTC)"
            )
        checks = parser.add_mutually_exclusive_group()
        checks.add_argument(
            "--verify", action="store_true", help="compare the stored counts with the log; exit code 1 if any differ"
        )
        checks.add_argument(
            "--rebuild",
            action="store_true",
            help="recount the log and repair the stored counts; the service may keep running",
        )

    def handle(  # noqa: PLR0913 - one parameter per option
        self,
        *,
        limit: int,
        format: Literal["table", "json", "csv"],  # noqa: A002 - the option's name
        since: datetime | None,
        until: datetime | None,
        verify: bool,
        rebuild: bool,
        **others: Any,
    ) -> None:
        if verify:
            self._verify()
        elif rebuild:
            self._rebuild()
        elif since and until and since > until:
            raise CommandError(times.REVERSED)
        else:
            # Unlike in the API, counting a time range has no time limit here: it blocks no other reader.
            in_range = Submission.objects.between(since, until)
            top = in_range.most_common(limit) if since or until else ranking.top(limit)
            rows = [(each.number, each.result, each.count) for each in top]
            text = as_table(rows) if format == "table" else export_rows(COLUMNS, rows, format).decode()
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
