"""What import-linter does not check: modules that are named by strings, as in settings.py, and the length of files."""

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each package may name.
ALLOWED = {
    "fizzbuzz": {"fizzbuzz"},
    "fizzbuzz_site": {"fizzbuzz", "fizzbuzz_site"},
}
DOTTED = re.compile(rf"(?:python:)?((?:{'|'.join(ALLOWED)})(?:\.\w+)+)")


def named(package: str) -> Iterator[str]:
    """Yield the dotted names of the project's modules, classes and functions in a package's strings."""
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and (name := DOTTED.fullmatch(text)):
                yield name[1]


@pytest.mark.parametrize("package", ALLOWED)
def test_strings_name_modules_in_the_direction_of_imports(package: str) -> None:
    assert {name.partition(".")[0] for name in named(package)} <= ALLOWED[package]


def test_strings_name_existing_modules() -> None:
    names = {name for package in ALLOWED for name in named(package)}

    # The last part may be a class or function of the module.
    missing = [name for name in names if not find_spec(name.rpartition(".")[0])]
    assert len(names) > 20
    assert missing == []


def test_files_have_at_most_300_lines() -> None:
    files = [file for folder in (*ALLOWED, "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]

    assert [str(file) for file in files if len(file.read_text().splitlines()) > 300] == []
