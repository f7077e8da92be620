"""What import-linter does not check: modules that are named by strings, as in settings.py, and the length of files."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.service import ROOT, collect_static

FOLDERS = ("fizzbuzz", "fizzbuzz_site", "tests", "benchmarks")
DOTTED = re.compile(r"(?:python:)?((?:fizzbuzz|fizzbuzz_site)(?:\.\w+)+)")


def named(package: str) -> set[str]:
    """Return the dotted names of the project's modules, classes and functions in a package's strings."""
    nodes = (node for file in (ROOT / package).rglob("*.py") for node in ast.walk(ast.parse(file.read_text())))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {name[1] for name in map(DOTTED.fullmatch, texts) if name}


def test_strings_name_existing_modules_in_the_direction_of_imports() -> None:
    names = named("fizzbuzz_site")

    assert len(names) > 20
    # The last part may be a class or function of the module.
    assert [name for name in names if not find_spec(name.rpartition(".")[0])] == []
    assert [name for name in named("fizzbuzz") if name.startswith("fizzbuzz_site")] == []


def test_wsgi_application_can_be_imported_by_any_server_and_needs_no_redis(tmp_path: Path) -> None:
    collect_static()
    code = "import sys, fizzbuzz_site.wsgi; assert 'redis' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"DATA_DIR": str(tmp_path)}, check=True)


def test_files_have_at_most_300_lines() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]

    assert [str(file) for file in files if len(file.read_text().splitlines()) > 300] == []
