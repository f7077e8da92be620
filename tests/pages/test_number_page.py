"""The page of a number."""

import re
from datetime import UTC, datetime

import pytest
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.counts import folding
from fizzbuzz.models import Submission
from tests.log import append

pytestmark = pytest.mark.django_db


def test_number_page_and_its_preview_show_all_facts(client: Client) -> None:
    append(7, *[15] * 1_000)
    ids = sorted(Submission.objects.filter(number=15).values_list("id", flat=True))
    for id_, day in ((ids[0], 1), (ids[-1], 31)):
        Submission.objects.filter(id=id_).update(created_at=datetime(2026, 1, day, 12, 3, 4, tzinfo=UTC))

    response = client.get("/numbers/15")

    expected = """
        <h1 class="answer" data-kind="FizzBuzz">FizzBuzz</h1>
        <p>15 is divisible by 3 and 5.</p>
        <dl class="facts">
          <div><dt>Number</dt><dd>15</dd></div> <div><dt>Submitted</dt><dd>1,000 times</dd></div>
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
    assert response.text.partition("<main>")[2].partition("</main>")[0].split() == expected.split()
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


def test_number_whose_rows_were_deleted_has_a_count_and_no_times(client: Client) -> None:
    append(15, 15)
    assert folding.fold()
    Submission.objects.all().delete()

    facts = client.get("/numbers/15").text.partition('<dl class="facts">')[2].partition("</dl>")[0]

    assert re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", facts) == [
        ("Number", "15"),
        ("Submitted", "2 times"),
        ("Rank", "1"),
    ]


def test_number_never_submitted_has_a_page_that_is_not_indexed(client: Client) -> None:
    html = client.get("/numbers/9").text

    assertInHTML("<p>9 is divisible by 3, not by 5. Nobody has submitted it yet.</p>", html)
    assert '<meta name="robots" content="noindex">' in html
    assert not re.search('rel="(prev|next)"', html)
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    ("number", "classes", "neighbours"),
    [
        (-10_001, "answer", [-10_002, -10_000]),
        (rules.SMALLEST, "answer long", [rules.SMALLEST + 1]),
        (rules.LARGEST, "answer long", [rules.LARGEST - 1]),
    ],
)
def test_number_submitted_is_one_text_is_indexed_and_links_to_its_neighbours(
    client: Client, number: int, classes: str, neighbours: list[int]
) -> None:
    append(number)

    html = client.get(f"/numbers/{number}").text

    assertInHTML(f'<h1 class="{classes}" data-kind="Number">{number}</h1>', html)
    assert re.findall(r'href="/numbers/(-?\d+)" rel="(?:prev|next)"', html) == [str(each) for each in neighbours]
    assert "noindex" not in html


def test_other_spellings_redirect_to_the_canonical_page(client: Client) -> None:
    for text, number in {"007": 7, "+7": 7, "-0": 0, "0" * 5_000: 0}.items():
        response = client.get(f"/numbers/{text}")

        assert (response.status_code, response["Location"]) == (301, f"/numbers/{number}")
