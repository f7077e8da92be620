"""Every HTML page is valid, and links to statistics, docs and feedback.

DRF's browsable API is not validated: its own templates have dozens of faults.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.counts import ranking
from tests.fresh import a_second_later
from tests.log import append
from tests.marks import commits

pytestmark = commits

CONFIGURATION = Path(__file__).with_name("htmlvalidate.mjs")
# htmx inserts fragments into the first page.
DOCUMENT = '<!DOCTYPE html>\n<html lang="en"><head><title>Fragment</title></head><body>\n{}</body></html>\n'


@pytest.fixture
def pages(client: Client, settings: Any) -> dict[str, str]:
    """The HTML of every page, with a feedback link."""
    settings.FEEDBACK_URL = "https://example.com/?a=1&b=2"
    empty = {"first page of an empty log": client.get("/"), "statistics of an empty log": client.get("/stats")}
    append(15, 15, 9, 20, 7, rules.SMALLEST)
    a_second_later()
    responses = {
        **empty,
        "first page": client.get("/"),
        "invalid number": client.post("/", {"number": "15.5"}),
        "number": client.get("/numbers/15"),
        "long number": client.get(f"/numbers/{rules.SMALLEST}"),
        "number without submissions": client.get("/numbers/8"),
        "statistics": client.get("/stats?window=month"),
        "API docs": client.get("/docs"),
        "API problem types": client.get("/docs/problems"),
        "error": client.get("/nowhere"),
    }
    return {name: response.text for name, response in responses.items()}


def test_pages_link_to_statistics_docs_and_feedback(pages: dict[str, str], client: Client, settings: Any) -> None:
    links = ['<a href="/stats">Statistics</a>', '<a href="/docs">API docs</a>']
    feedback = '<a href="https://example.com/?a=1&amp;b=2">Feedback</a>'
    for html in pages.values():
        assertInHTML(f"<footer>{''.join(links)} {feedback}</footer>", html)
    report = feedback.replace("Feedback", "Report a problem")
    assertInHTML(f"<p>{report}, and include the request ID.</p>", pages["error"])
    browsable = client.get("/api/most_common", headers={"accept": "text/html"}).text
    for link in (*links, feedback):
        assertInHTML(link, browsable)

    settings.FEEDBACK_URL = ""
    without = client.get("/nowhere").text

    assertInHTML(f"<footer>{''.join(links)}</footer>", without)
    assert "Report a problem" not in without


def test_scripts_use_no_newer_syntax_than_htmx() -> None:
    newer = re.compile(r"\S*(?:(?:\?\?|\|\||&&)=|\d_\d|\.at\(|\.replaceAll\(|\.hasOwn\(|requestSubmit|static \{)\S*")
    scripts = (settings.BASE_DIR / "static").glob("*.js")

    assert {path.name: found for path in scripts if (found := newer.findall(path.read_text()))} == {}


def test_pages_and_fragments_are_valid_html(pages: dict[str, str], client: Client, tmp_path: Path) -> None:
    validator = shutil.which("html-validate")
    if validator is None:
        pytest.skip("needs a validator: npm install --global html-validate@9.7.1")
    numbers = {"answer": "15", "long answer": f"{rules.SMALLEST}", "invalid number in place": "15.5"}
    fragments = {"live data": client.get("/live")} | {
        name: client.post("/", {"number": number}, headers={"hx-request": "true"}) for name, number in numbers.items()
    }
    with patch.object(ranking, "shared_facts_of", side_effect=OperationalError):
        fragments["answer without counts"] = client.post("/", {"number": "15"}, headers={"hx-request": "true"})
    documents = pages | {name: DOCUMENT.format(response.text) for name, response in fragments.items()}
    for name, html in documents.items():
        (tmp_path / f"{name}.html").write_text(html)

    command = [validator, "--config", str(CONFIGURATION), "--formatter", "text", *map(str, tmp_path.iterdir())]
    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (run.stdout.splitlines(), run.stderr, run.returncode) == ([], "", 0)
