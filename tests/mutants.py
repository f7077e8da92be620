"""`python -m tests.mutants`: breaks rollup.py in each way that matters, and shows that the tests see it.

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

TESTS = ("tests/test_rollup.py", "tests/test_rollup_races.py", "tests/test_rollup_storm.py")
THROUGH = "COALESCE((SELECT through FROM fizzbuzz_watermark), 0)"

MUTANTS = {
    "no wait in settle": (
        "        while writers:\n",
        "        while False:\n",
    ),
    "`newest` read after the look at pg_locks": (
        """
        newest: int = _value(cursor, _NEWEST)
        writers = _writers(cursor)
""",
        """
        writers = _writers(cursor)
        newest: int = _value(cursor, _NEWEST)
""",
    ),
    "`through` read before the row lock": (
        """
    cursor.execute(_LOCK_WATERMARK + unless)
    row: tuple[int] | None = cursor.fetchone()
""",
        """
    cursor.execute("SELECT through FROM fizzbuzz_watermark")
    row: tuple[int] | None = cursor.fetchone()
    cursor.execute(_LOCK_WATERMARK + unless)
    row = row if cursor.fetchone() else None
""",
    ),
    "the top read as two statements": (
        '        cursor.execute(_TOP, {"limit": limit})\n',
        f"""
        through = _value(cursor, "SELECT {THROUGH}")
        cursor.execute(_TOP.replace("{THROUGH}", str(through)), {{"limit": limit}})
""",
    ),
    "`<` for `<=` in the fold": ("id <= %(newest)s", "id < %(newest)s"),
    "`>=` for `>` in the fold": ("id > %(through)s", "id >= %(through)s"),
    "the watermark's row not locked": ("FOR UPDATE ", "-- "),
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
            rollup = copy / "fizzbuzz/rollup.py"
            text = rollup.read_text()
            if right not in text:
                raise SystemExit(f"rollup.py has changed, and the mutant {name!r} with it: {right}")
            rollup.write_text(text.replace(right, wrong) if right else text)
            failed = red(copy)
        among = ", ".join(f"`{each}`" for each in list(dict.fromkeys(failed))[:3])
        print(f"| {name} | {len(failed)} | {among} |", flush=True)  # noqa: T201
        survived |= bool(failed) == (name == "none")
    sys.exit(survived)


if __name__ == "__main__":
    main()
