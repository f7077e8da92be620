"""make repairs an interrupted environment, and installs into it whatever pip is configured to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is missing")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name, the Makefile, and a complete environment."""
    folder = tmp_path / "a project"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    (folder / ".venv/bin/activate").touch()
    (folder / "requirements-embedded.txt").touch()
    (folder / ".venv/embedded").touch()
    return folder


def make(folder: Path, *arguments: str, **environment: str) -> str:
    # The make that runs these tests passes its variables on, such as VENV_DIR.
    ours = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES"}}
    return subprocess.check_output(["make", *arguments], cwd=folder, env=ours | environment, text=True)


@pytest.mark.parametrize(
    ("missing", "is_made", "is_installed"),
    [("", False, False), ("bin/activate", True, True), ("bin/python", True, True), ("embedded", False, True)],
)
def test_unfinished_environment_is_made_again(folder: Path, missing: str, *, is_made: bool, is_installed: bool) -> None:
    if missing:
        (folder / ".venv" / missing).unlink()
    if missing == "bin/python":
        (folder / ".venv/bin/python").symlink_to("/nowhere/python")  # of a Python that was removed

    planned = make(folder, "-n", "staticfiles/staticfiles.json")

    assert ("-m venv .venv" in planned, "-m pip install" in planned) == (is_made, is_installed)


def test_pip_installs_into_the_environment(folder: Path) -> None:
    elsewhere = {"PIP_USER": "1", "PIP_TARGET": "/elsewhere", "PIP_PREFIX": "/elsewhere"}

    shown = make(folder, "--eval", "show: ; @env", "show", **elsewhere).splitlines()

    assert [line for line in shown if line.startswith("PIP_") and "/elsewhere" in line] == []
    assert "PIP_USER=0" in shown
