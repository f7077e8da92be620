"""make repairs an interrupted environment, and installs into it whatever pip is configured to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a space in its name, the Makefile, and a complete environment."""
    if not shutil.which("make"):
        pytest.skip("make is missing")
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
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ours | environment, capture_output=True, text=True, check=True
    ).stdout


def test_complete_environment_is_kept(folder: Path) -> None:
    assert "-m venv" not in make(folder, "-n", "staticfiles/staticfiles.json")


@pytest.mark.parametrize("missing", ["bin/activate", "bin/python", "embedded"])
def test_unfinished_environment_is_made_or_installed_again(folder: Path, missing: str) -> None:
    (folder / ".venv" / missing).unlink()
    if missing == "bin/python":
        (folder / ".venv/bin/python").symlink_to("/nowhere/python")  # of a Python that was removed

    planned = make(folder, "-n", "staticfiles/staticfiles.json")

    assert ("-m venv .venv" in planned) is (missing != "embedded")
    assert "-m pip install" in planned


def test_pip_installs_into_the_environment(folder: Path) -> None:
    shown = make(
        folder, "--eval", "show: ; @env", "show", PIP_USER="1", PIP_TARGET="/elsewhere", PIP_PREFIX="/elsewhere"
    )

    assert [line for line in shown.splitlines() if line.startswith("PIP_") and "/elsewhere" in line] == []
    assert "PIP_USER=0" in shown.splitlines()
