"""`python -m tests.mutants`: breaks the rollups in each way that matters, and shows that the tests see it.

Prints a Markdown table, which docs/exactness.md holds; exits with 1 if a mutant survives.
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
    "core/shared_calls.py",
)
TESTS = (
    "tests/test_rollup.py",
    "tests/test_top.py",
    "tests/test_folding.py",
    "tests/test_rollup_races.py",
    "tests/test_rollup_storm.py",
    "tests/test_reads.py",
    "tests/test_shared_calls.py",
)
THROUGH = "COALESCE((SELECT through FROM fizzbuzz_watermark), 0)"

MUTANTS = {
    "a limit is taken for settled at once": (
        "    return not writers\n",
        "    return True\n",
    ),
    "a limit outlives the log that it was found in": (
        "        raise LogReplaced\n",
        "        pass\n",
    ),
    "`newest` read after the look at pg_locks": (
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
    "`through` read before the row lock": (
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
    "the top read as two statements": (
        '        cursor.execute(_TOP, {"limit": limit, "max_near": MAX_NEAR_NUMBERS})\n',
        f"""
        through = _value(cursor, "SELECT {THROUGH}")
        cursor.execute(_TOP.replace("{THROUGH}", str(through)), {{"limit": limit, "max_near": MAX_NEAR_NUMBERS}})
""",
    ),
    "none is near that has one less than the last": ("(SELECT count FROM last) - 1", "(SELECT count FROM last)"),
    "what is in the tail twice is not looked up": ("tail.count > 1 OR", "tail.count > 2 OR"),
    "what is new in the tail is not looked up": ("OR tail.count >= (SELECT count FROM last)", ""),
    "none is looked up though too many are near": ("OR (SELECT count(*) FROM near) = %(limit)s + %(max_near)s", ""),
    "`<` for `<=` in the fold": ("id <= %(newest)s", "id < %(newest)s"),
    "`>=` for `>` in the fold": ("WHERE id > %(through)s", "WHERE id >= %(through)s"),
    "the minutes' fold begins where the numbers' does": (
        "id > LEAST(%(through)s, %(minutes_through)s)",
        "id > %(through)s",
    ),
    "no minutes to fold where the numbers are": ("newest <= min(watermarks)", "newest <= watermarks.through"),
    "the activity's tail begins where the numbers' does": (
        "SELECT minutes_through FROM fizzbuzz_watermark",
        "SELECT through FROM fizzbuzz_watermark",
    ),
    "the watermark's row not locked": ("FOR UPDATE ", "-- "),
    "a read joins one that runs already": ("return monotonic() if self._max_age else begun", "return monotonic()"),
    "the rank without what ranks before by the tail": (
        "rolled_up.count + (SELECT count FROM risen)",
        "rolled_up.count",
    ),
    "the rank counts twice what is in both": ("AND (-of_rollup, number) >", "AND (1, number) >"),
    "equally common numbers rank alike": ("AND number < %(number)s\n", "AND false\n"),
}


def red(folder: Path) -> list[str]:
    """The names of the tests that fail there."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    if not re.search(r"\d+ (passed|failed)", output):
        raise SystemExit(output)
    return re.findall(r"^(?:FAILED|ERROR) tests/\w+\.py::(\w+)", output, re.MULTILINE)


def main() -> None:
    survived = False
    print("| mutant | tests that turn red | such as |\n|---|---|---|")  # noqa: T201
    for name, (right, wrong) in {"none": ("", ""), **MUTANTS}.items():
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy")
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "var", "__pycache__"))
            found = [file for file in FILES if right in (copy / file).read_text()]
            if not found:
                raise SystemExit(f"The code has changed, and the mutant {name!r} with it: {right}")
            text = (copy / found[0]).read_text()
            (copy / found[0]).write_text(text.replace(right, wrong) if right else text)
            failed = red(copy)
        among = ", ".join(f"`{each}`" for each in list(dict.fromkeys(failed))[:3])
        print(f"| {name} | {len(failed)} | {among} |", flush=True)  # noqa: T201
        survived |= bool(failed) == (name == "none")
    sys.exit(survived)


if __name__ == "__main__":
    main()
