"""Every HTML page is valid. DRF's browsable API is left out: its own templates have dozens of faults."""

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
from fizzbuzz.counts.activity import PERIODS
from tests.fresh import a_second_later
from tests.log import append
from tests.marks import commits

pytestmark = commits

HTMX = {"hx-request": "true"}
CONFIGURATION = Path(__file__).with_name("htmlvalidate.mjs")
# htmx inserts fragments into the first page.
DOCUMENT = '<!DOCTYPE html>\n<html lang="en"><head><title>Fragment</title></head><body>\n{}</body></html>\n'


@pytest.fixture
def pages(client: Client, settings: Any) -> dict[str, str]:
    """The HTML of every page, with a feedback link."""
    settings.FEEDBACK_URL = "https://example.com/?a=1&b=2"
    client.raise_request_exception = False
    empty = {"first page of an empty log": client.get("/"), "statistics of an empty log": client.get("/stats")}
    append(15, 15, 9, 20, 7, rules.SMALLEST)
    a_second_later()
    full = {
        "first page": client.get("/"),
        "invalid number": client.post("/", {"number": "15.5"}),
        "number": client.get("/numbers/15"),
        "long number": client.get(f"/numbers/{rules.SMALLEST}"),
        "number without submissions": client.get("/numbers/8"),
        **{f"statistics of the last {window}": client.get(f"/stats?window={window}") for window in PERIODS},
        "API docs": client.get("/docs"),
        "API problem types": client.get("/docs/problems"),
    }
    errors = [
        client.get("/stats?window=year"),
        client.post("/", {"number": "15"}, headers={"sec-fetch-site": "cross-site"}),
        client.get("/nowhere"),
        client.post("/stats"),
    ]
    for error in (ValueError, OperationalError):
        with patch.object(ranking, "shared_facts_of", side_effect=error):
            errors.append(client.get("/numbers/15"))
    assert [each.status_code for each in errors] == [400, 403, 404, 405, 500, 503]
    responses = {**empty, **full, **{str(each.status_code): each for each in errors}}
    return {name: response.text for name, response in responses.items()}


@pytest.fixture
def fragments(client: Client) -> dict[str, str]:
    """What the first page's script requests, each in a document."""
    responses = {
        "live data": client.get("/live"),
        "answer": client.post("/", {"number": "15"}, headers=HTMX),
        "long answer": client.post("/", {"number": f"{rules.SMALLEST}"}, headers=HTMX),
        "invalid number in place": client.post("/", {"number": "15.5"}, headers=HTMX),
    }
    with patch.object(ranking, "shared_facts_of", side_effect=OperationalError):
        responses["answer without counts"] = client.post("/", {"number": "15"}, headers=HTMX)
    return {name: DOCUMENT.format(response.text) for name, response in responses.items()}


def test_every_page_links_to_statistics_docs_and_feedback(pages: dict[str, str]) -> None:
    for html in pages.values():
        assertInHTML(
            """
            <footer><a href="/stats">Statistics</a> <a href="/docs">API docs</a>
              <a href="https://example.com/?a=1&amp;b=2">Feedback</a></footer>
            """,
            html,
        )
        if 'id="problem"' in html:
            assertInHTML(
                '<p><a href="https://example.com/?a=1&amp;b=2">Report a problem</a>, and include the request ID.</p>',
                html,
            )


def test_browsable_api_links_to_statistics_docs_and_feedback(client: Client, settings: Any) -> None:
    settings.FEEDBACK_URL = "https://example.com/"

    html = client.get("/api/most_common", headers={"accept": "text/html"}).text

    for url, text in {"/stats": "Statistics", "/docs": "API docs", "https://example.com/": "Feedback"}.items():
        assertInHTML(f'<a href="{url}">{text}</a>', html)


def test_feedback_link_needs_its_setting(client: Client) -> None:
    assertInHTML('<footer><a href="/stats">Statistics</a> <a href="/docs">API docs</a></footer>', client.get("/").text)
    assert "Report a problem" not in client.get("/nowhere").text


def test_no_line_ends_in_spaces(pages: dict[str, str], fragments: dict[str, str]) -> None:
    found = {name: re.findall(r".*[ \t]+$", html, re.MULTILINE) for name, html in {**pages, **fragments}.items()}

    assert {name: lines for name, lines in found.items() if lines} == {}


def test_scripts_use_no_newer_syntax_than_htmx() -> None:
    newer = re.compile(r"\S*(?:(?:\?\?|\|\||&&)=|\d_\d|\.at\(|\.replaceAll\(|\.hasOwn\(|requestSubmit|static \{)\S*")
    scripts = (settings.BASE_DIR / "static").glob("*.js")

    assert {path.name: found for path in scripts if (found := newer.findall(path.read_text()))} == {}


def test_pages_are_valid_html(pages: dict[str, str], fragments: dict[str, str], tmp_path: Path) -> None:
    validator = shutil.which("html-validate")
    if validator is None:
        pytest.skip("needs a validator: npm install --global html-validate@9.7.1")
    for name, html in {**pages, **fragments}.items():
        (tmp_path / f"{name}.html").write_text(html)

    command = [validator, "--config", str(CONFIGURATION), "--formatter", "text", *map(str, tmp_path.iterdir())]
    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (run.stdout.splitlines(), run.stderr, run.returncode) == ([], "", 0)
