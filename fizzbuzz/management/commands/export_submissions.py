"""`manage.py export_submissions`: print the log as CSV or JSON Lines."""

from argparse import ArgumentParser
from contextlib import closing
from typing import Any

from django.core.management.base import BaseCommand

from fizzbuzz import exporting, rules
from fizzbuzz.management.options import number_option
from fizzbuzz.models import Submission


class Command(BaseCommand):
    help = "Prints the submissions, oldest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=exporting.CONTENT_TYPES, default="csv", help="default: csv")
        parser.add_argument("--number", type=number_option, metavar="N", help="only submissions of this number")
        parser.add_argument("--kind", choices=list(rules.Kind), help="only those of this kind")

    def handle(self, **options: Any) -> None:
        submissions = Submission.objects.all()
        if options["number"] is not None:
            submissions = submissions.filter(number=options["number"])
        if options["kind"]:
            submissions = submissions.of_kind(rules.Kind(options["kind"]))
        with closing(exporting.export_submissions(submissions, options["format"])) as blocks:
            for block in blocks:
                self.stdout.write(block.decode(), ending="")
