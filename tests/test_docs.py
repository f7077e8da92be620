"""Links and paths in the documents."""

import re
from pathlib import Path

import pytest

from tests.service import ROOT

DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"]
LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(#[^)]*)?\)")
PATH = re.compile(r"`([\w.*-]+/[\w./*-]+\.(?:alloy|conf|css|ini|js|md|py|sh|sql|toml|yml))`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return the fragments that GitHub gives to the headings."""
    titles = HEADING.findall(document.read_text())
    return {"#" + re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_and_paths_exist(document: Path) -> None:
    text = document.read_text()
    links = [(document.parent / path if path else document, anchor) for path, anchor in LINK.findall(text)]

    assert [str(target) for target, _ in links if not target.exists()] == []
    assert [link for link in links if link[1] and link[1] not in anchors(link[0])] == []
    assert [path for path in PATH.findall(text) if not any(ROOT.glob(path))] == []
