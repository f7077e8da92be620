"""The commands of the documents, to be run as they are written."""

import re
import subprocess
from pathlib import Path

from tests.service import ROOT

DOCUMENTS = ["README.md", "docs/deployment.md", "docs/operations.md", "docs/runbook.md"]
# A marker tells which commands need something that no test has; readers don't see it.
BLOCK = re.compile(r"^#+ (.+)$|(?:^<!-- not run: (.+) -->\n)?^```sh\n((?:.*\n)*?)```$", re.MULTILINE)


def blocks(document: str) -> list[tuple[str, str, str]]:
    """Return the chapter of each block, why no test runs it (or ""), and its commands."""
    chapter, found = "", []
    for heading, reason, commands in BLOCK.findall((ROOT / document).read_text()):
        chapter = heading or chapter
        if commands:
            found.append((chapter, reason, commands))
    return found


def of_chapter(document: str, chapter: str) -> list[str]:
    """Return the commands of the chapter's blocks that a test has to run."""
    return [commands for name, not_run, commands in blocks(document) if name == chapter and not not_run]


def type_in(commands: str, folder: Path, environment: dict[str, str], *, fails: bool = False) -> str:
    """Run the commands in the folder until one fails, and return their output. They must succeed, unless `fails`."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stdout
    return done.stdout
