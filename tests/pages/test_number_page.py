"""The page of a number."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.counts import folding
from fizzbuzz.models import Submission
from tests.log import append

pytestmark = pytest.mark.django_db

HTML = "text/html; charset=utf-8"


def main_of(html: str) -> str:
    return html.partition("<main>")[2].partition("</main>")[0]


def test_number_page_shows_all_facts(client: Client) -> None:
    append(7, 15, 15, 15)
    days = [datetime(2026, 1, day, 12, 3, 4, tzinfo=UTC) for day in (1, 2, 31)]
    for submission, day in zip(Submission.objects.filter(number=15).order_by("id"), days, strict=True):
        Submission.objects.filter(id=submission.id).update(created_at=day)

    response = client.get("/numbers/15")

    expected = """
        <h1 class="answer" data-kind="FizzBuzz">FizzBuzz</h1>
        <p>15 is divisible by 3 and 5.</p>
        <dl class="facts">
          <div><dt>Number</dt><dd>15</dd></div> <div><dt>Submitted</dt><dd>3 times</dd></div>
          <div><dt>Rank</dt><dd>1</dd></div>
          <div><dt>First</dt><dd><time datetime="2026-01-01T12:03:04+00:00">1 Jan 2026, 12:03 UTC</time></dd></div>
          <div><dt>Last</dt><dd><time datetime="2026-01-31T12:03:04+00:00">31 Jan 2026, 12:03 UTC</time></dd></div>
        </dl>
        <p class="share">Share it: <a href="/numbers/15" rel="bookmark">testserver/numbers/15</a>
          <copy-link></copy-link></p>
        <p><a href="/">Try another number</a></p>
        <nav class="neighbours" aria-label="Neighbours">
          <a href="/numbers/14" rel="prev">&larr; 14</a> <a href="/numbers/16" rel="next">16 &rarr;</a>
        </nav>
    """
    assert main_of(response.text).split() == expected.split()


def test_number_whose_rows_were_deleted_has_a_count_and_no_times(client: Client) -> None:
    append(15, 15)
    assert folding.fold()
    Submission.objects.all().delete()

    response = client.get("/numbers/15")

    facts = response.text.partition('<dl class="facts">')[2].partition("</dl>")[0]
    assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", facts) == [
        ("Number", "15"),
        ("Submitted", "2 times"),
        ("Rank", "1"),
    ]


def test_shared_link_has_the_result_in_its_preview(client: Client) -> None:
    append(*[15] * 1_000)

    response = client.get("/numbers/15")

    description = "15 is divisible by 3 and 5. Submitted 1,000 times so far."
    for tag in (
        "<title>15 is FizzBuzz</title>",
        '<link rel="canonical" href="http://testserver/numbers/15">',
        '<meta property="og:url" content="http://testserver/numbers/15">',
        '<meta property="og:type" content="website">',
        '<meta property="og:title" content="15 is FizzBuzz">',
        f'<meta name="description" property="og:description" content="{description}">',
        '<meta name="twitter:card" content="summary">',
    ):
        assertInHTML(tag, response.text)
    assert not response.cookies


def test_number_never_submitted_has_a_page_that_is_not_indexed(client: Client) -> None:
    response = client.get("/numbers/9")

    assertInHTML("<p>9 is divisible by 3, not by 5. Nobody has submitted it yet.</p>", response.text)
    assert '<meta name="robots" content="noindex">' in response.text
    assert neighbours_on(response) == []
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    ("number", "neighbours"),
    [
        (0, ["-1", "1"]),
        (rules.SMALLEST, [str(rules.SMALLEST + 1)]),
        (rules.LARGEST, [str(rules.LARGEST - 1)]),
    ],
)
def test_number_submitted_is_indexed_and_links_to_its_neighbours(
    client: Client, number: int, neighbours: list[str]
) -> None:
    append(number)

    response = client.get(f"/numbers/{number}")

    assert neighbours_on(response) == neighbours
    assert "noindex" not in response.text


def neighbours_on(page: Any) -> list[str]:
    return re.findall(r'href="/numbers/(-?\d+)" rel="(?:prev|next)"', page.text)


@pytest.mark.parametrize(("number", "classes"), [(10_001, "answer"), (rules.SMALLEST + 1, "answer long")])
def test_number_is_one_text(client: Client, number: int, classes: str) -> None:
    response = client.get(f"/numbers/{number}")

    assertInHTML(f'<h1 class="{classes}" data-kind="{rules.classify(number)}">{number}</h1>', response.text)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("007", "/numbers/7"),
        ("+7", "/numbers/7"),
        ("-0", "/numbers/0"),
        ("-007", "/numbers/-7"),
        ("0" * 5_000, "/numbers/0"),
    ],
    ids=ascii,
)
def test_other_spellings_redirect_to_the_canonical_page(client: Client, text: str, location: str) -> None:
    response = client.get(f"/numbers/{text}")

    assert (response.status_code, response["Location"]) == (301, location)
