"""`python -m tests.mutants`: break the counts in each way that matters, and check that a test fails.

Prints a table in Markdown, and exits with 1 if a mutant survives.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.service import ROOT

COUNTS, TESTS = "fizzbuzz/counts", "tests/counts"
FOLD_TESTS = [f"{TESTS}/test_{name}.py" for name in ("folding", "rollup")]
# The tests that run for a mutant in a file, until the first one fails.
TESTS_OF = {
    f"{COUNTS}/folding.py": FOLD_TESTS,
    f"{COUNTS}/fold_scheduler.py": FOLD_TESTS,
    f"{COUNTS}/verify.py": FOLD_TESTS,
    f"{COUNTS}/activity.py": FOLD_TESTS,
    f"{COUNTS}/ranking.py": [f"{TESTS}/test_reads.py", f"{TESTS}/test_rollup.py"],
    "fizzbuzz/shared_calls.py": ["tests/test_shared_calls.py"],
}
THROUGH = "COALESCE((SELECT through FROM fizzbuzz_watermark), 0)"


class Mutant(NamedTuple):
    name: str
    right: str
    wrong: str

    def file(self) -> str:
        """Return the file that contains the code. Raise ValueError unless there is exactly one."""
        (file,) = [file for file in TESTS_OF if (ROOT / file).read_text().count(self.right) == 1]
        return file


MUTANTS = [
    Mutant(
        "a fold limit counts as settled at once",
        """return not (writers and _value(cursor, _WRITERS, {"among": writers}))""",
        "return True",
    ),
    Mutant("a fold waits for writers that began later, too", '{"among": writers}', '{"among": None}'),
    Mutant("a fold limit is kept after the log was replaced", " != limit.log_identity:", " is None:"),
    Mutant(
        "`newest` is read after pg_locks",
        """
        newest = _value(cursor, _NEWEST)
        writers = _value(cursor, _WRITERS, {"among": None})
""",
        """
        writers = _value(cursor, _WRITERS, {"among": None})
        newest = _value(cursor, _NEWEST)
""",
    ),
    Mutant(
        "`through` is read before the row lock",
        """
    return _value(cursor, _LOCK_WATERMARK + wait_policy)
""",
        """
    through = _value(cursor, "SELECT through FROM fizzbuzz_watermark")
    return through if _value(cursor, _LOCK_WATERMARK + wait_policy) is not None else None
""",
    ),
    Mutant("the watermark's row is not locked", "FOR UPDATE ", "-- "),
    Mutant("`<` instead of `<=` in the fold", "id <= %(newest)s", "id < %(newest)s"),
    Mutant("`>=` instead of `>` in the fold", "WHERE id > %(through)s", "WHERE id >= %(through)s"),
    Mutant("the watermark of older releases is not written", "minutes_through = newest.id, ", ""),
    Mutant("a slow fold does not make the next one smaller", "seconds > SLOW_FOLD_SECONDS", "seconds > 1_000"),
    Mutant("a rebuild keeps the watermark of an emptied log", "if through == earlier:", "if False:"),
    Mutant(
        "a rebuild does not wait for writers",
        "folding.find_fold_limit(WRITERS_TIMEOUT_SECONDS)",
        "folding.FoldLimit(2**62, folding._value(connection.cursor(), folding._LOG_IDENTITY))",
    ),
    Mutant("the activity ignores the tail", "FROM ({tail}) AS tail", "FROM ({tail}) AS tail WHERE false"),
    Mutant(
        "the top is read in two statements",
        "pool.read(_TOP, {",
        f"pool.read(_TOP.replace({THROUGH!r}, str(pool.read('SELECT {THROUGH}', [])[0][0])), {{",
    ),
    Mutant("a number with one count less than the Nth is not a candidate", "count FROM last) - 1", "count FROM last)"),
    Mutant("a number that is in the tail twice is not looked up", "tail.count > 1 OR", "tail.count > 2 OR"),
    Mutant("a number that is only in the tail is not looked up", "OR tail.count >= (SELECT count FROM last)", ""),
    Mutant(
        "too many candidates, and the others are not looked up",
        "OR (SELECT count(*) FROM near) = %(limit)s + %(max_near)s",
        "",
    ),
    Mutant(
        "the rank ignores numbers that rank higher because of the tail",
        "rolled_up.count + (SELECT count FROM risen)",
        "rolled_up.count",
    ),
    Mutant("the rank counts numbers of rollup and tail twice", "AND (-of_rollup, number) >", "AND (1, number) >"),
    Mutant("equally common numbers get the same rank", "AND number < %(number)s\n", "AND false\n"),
    Mutant("a read shares one that is already running", "(slot.ended if self._max_age else slot.began)", "slot.ended"),
    Mutant(
        "a kept result's age counts from the end of its call",
        "slot.began, slot.ended = began, ",
        "slot.began = slot.ended = ",
    ),
]


def first_failure(folder: Path, tests: list[str]) -> str:
    """Return the name of a test that fails in this folder, or an empty text."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    if not re.search(r"\d+ (passed|failed|error)", output):
        raise SystemExit(output)
    found = re.search(r"^(?:FAILED|ERROR) tests/[\w/]+\.py::(\w+)", output, re.MULTILINE)
    return found[1] if found else ""


def main() -> None:
    survived = False
    print("| mutant | a test that fails |\n|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # started by root, PostgreSQL runs as another user
        os.environ["TEST_RUN_DIR"] = folder  # so that all of them start from one template
        copy = Path(folder, "copy")
        for mutant in MUTANTS:
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "var", "__pycache__"))
            file = copy / mutant.file()
            file.write_text(file.read_text().replace(mutant.right, mutant.wrong))
            failed = first_failure(copy, TESTS_OF[mutant.file()])
            print(f"| {mutant.name} | {failed or '**none**'} |", flush=True)  # noqa: T201
            survived |= not failed
            shutil.rmtree(copy)
    sys.exit(survived)


if __name__ == "__main__":
    main()
