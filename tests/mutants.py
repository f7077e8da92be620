"""`python -m tests.mutants`: break the rollups in each way that matters, and check that tests fail.

Prints the Markdown table of docs/exactness.md, and the failing tests' names on standard error; exits with 1 if a mutant
survives.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.service import ROOT

FILES = (
    "fizzbuzz/counts/folding.py",
    "fizzbuzz/counts/ranking.py",
    "fizzbuzz/counts/activity.py",
    "fizzbuzz/counts/number_facts.py",
    "fizzbuzz/shared_calls.py",
)
TESTS = (
    "tests/counts/test_rollup.py",
    "tests/counts/test_top.py",
    "tests/counts/test_folding.py",
    "tests/counts/test_rollup_races.py",
    "tests/counts/test_rollup_storm.py",
    "tests/counts/test_reads.py",
    "tests/test_shared_calls.py",
)
THROUGH = "COALESCE((SELECT through FROM fizzbuzz_watermark), 0)"

MUTANTS = {
    "a fold limit counts as settled at once": (
        "    return not writers\n",
        "    return True\n",
    ),
    "a fold limit is kept after the log was replaced": (
        "        raise LogReplaced\n",
        "        pass\n",
    ),
    "`newest` is read after pg_locks": (
        """
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
        return FoldLimit(newest, _writers(cursor), server_started_at)
""",
        """
        writers = _writers(cursor)
        cursor.execute(_NEWEST)
        newest, server_started_at = cursor.fetchone()
        return FoldLimit(newest, writers, server_started_at)
""",
    ),
    "`through` is read before the row lock": (
        """
    cursor.execute(_LOCK_WATERMARK + wait_policy)
    row: tuple[int, int] | None = cursor.fetchone()
""",
        """
    cursor.execute("SELECT through, minutes_through FROM fizzbuzz_watermark")
    row: tuple[int, int] | None = cursor.fetchone()
    cursor.execute(_LOCK_WATERMARK + wait_policy)
    row = row if cursor.fetchone() else None
""",
    ),
    "the top is read in two statements": (
        '        cursor.execute(_TOP, {"limit": limit, "max_near": MAX_NEAR_NUMBERS})\n',
        f"""
        through = _value(cursor, "SELECT {THROUGH}")
        cursor.execute(_TOP.replace("{THROUGH}", str(through)), {{"limit": limit, "max_near": MAX_NEAR_NUMBERS}})
""",
    ),
    "a number with one count less than the Nth is not a candidate": (
        "(SELECT count FROM last) - 1",
        "(SELECT count FROM last)",
    ),
    "a number that is in the tail twice is not looked up": ("tail.count > 1 OR", "tail.count > 2 OR"),
    "a number that is only in the tail is not looked up": ("OR tail.count >= (SELECT count FROM last)", ""),
    "too many candidates, and the others are not looked up": (
        "OR (SELECT count(*) FROM near) = %(limit)s + %(max_near)s",
        "",
    ),
    "`<` instead of `<=` in the fold": ("id <= %(newest)s", "id < %(newest)s"),
    "`>=` instead of `>` in the fold": ("WHERE id > %(through)s", "WHERE id >= %(through)s"),
    "the fold of minutes starts at the watermark of numbers": (
        "id > LEAST(%(through)s, %(minutes_through)s)",
        "id > %(through)s",
    ),
    "minutes that lag behind are not folded alone": ("newest <= min(watermarks)", "newest <= watermarks.through"),
    "the tail of the activity starts at the watermark of numbers": (
        "SELECT minutes_through FROM fizzbuzz_watermark",
        "SELECT through FROM fizzbuzz_watermark",
    ),
    "the watermark's row is not locked": ("FOR UPDATE ", "-- "),
    "a read shares one that is already running": (
        "return monotonic() if self._max_age else begun",
        "return monotonic()",
    ),
    "the rank ignores numbers that rank higher because of the tail": (
        "rolled_up.count + (SELECT count FROM risen)",
        "rolled_up.count",
    ),
    "the rank counts numbers of rollup and tail twice": ("AND (-of_rollup, number) >", "AND (1, number) >"),
    "equally common numbers get the same rank": ("AND number < %(number)s\n", "AND false\n"),
}


def red(folder: Path) -> list[str]:
    """Return the names of the tests that fail in this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    if not re.search(r"\d+ (passed|failed)", output):
        raise SystemExit(output)
    return re.findall(r"^(?:FAILED|ERROR) tests/\w+\.py::(\w+)", output, re.MULTILINE)


def main() -> None:
    survived = False
    print("| mutant | failing tests |\n|---|--:|")  # noqa: T201
    for name, (right, wrong) in {"none": ("", ""), **MUTANTS}.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "var", "__pycache__"))
            found = [file for file in FILES if right in (copy / file).read_text()]
            if not found:
                raise SystemExit(f"The mutant {name!r} does not match the code any more: {right}")
            text = (copy / found[0]).read_text()
            (copy / found[0]).write_text(text.replace(right, wrong) if right else text)
            failed = red(copy)
        print(f"| {name} | {len(failed)} |", flush=True)  # noqa: T201
        print(*dict.fromkeys(failed), file=sys.stderr)  # noqa: T201
        survived |= bool(failed) == (name == "none")
    sys.exit(survived)


if __name__ == "__main__":
    main()
