"""The statistics page, its chart and its downloads."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.counts import activity
from fizzbuzz.counts.activity import Bucket
from fizzbuzz.pages import stats
from tests.fresh import a_second_later
from tests.log import append, append_at
from tests.problems import assert_error_page

pytestmark = pytest.mark.django_db

KINDS = list(rules.Kind)


def test_page_shows_the_most_common_or_invites_the_first_submission(client: Client) -> None:
    assertInHTML('<p>Nothing yet. <a href="/">Be the first.</a></p>', client.get("/stats").text)

    append(7, 15, 15, *[rules.SMALLEST] * 1_234)
    a_second_later()
    response = client.get("/stats")

    assertInHTML(
        f"""
        <tbody>
          <tr><td>1</td><th class="long text" scope="row"><a href="/numbers/{rules.SMALLEST}">{rules.SMALLEST}</a></th>
            <td class="text" data-kind="Number">Number</td><td>1,234</td></tr>
          <tr><td>2</td><th class="long text" scope="row"><a href="/numbers/15">15</a></th>
            <td class="text" data-kind="FizzBuzz">FizzBuzz</td><td>2</td></tr>
          <tr><td>3</td><th class="long text" scope="row"><a href="/numbers/7">7</a></th>
            <td class="text" data-kind="Number">Number</td><td>1</td></tr>
        </tbody>
        """,
        response.text,
    )


def test_window_is_chosen_by_links_and_has_the_chart_and_its_values(client: Client) -> None:
    start = activity.activity("month")[-2].start
    append_at(f"{start}", 15, 3, 3, 7)

    response = client.get("/stats?window=month")

    for html in (
        """
        <nav class="windows" aria-label="Other times">
          <a href="?window=hour">Hour</a> <a href="?window=day">Day</a> <a href="?window=week">Week</a>
          <a href="?window=month" aria-current="page">30 days</a>
        </nav>
        """,
        '<h2 id="activity">Activity in the last 30 days</h2>',
        '<desc id="chart-summary">4 in all: 1 Number, 2 Fizz, 0 Buzz, 1 FizzBuzz. At most 4 per day.</desc>',
        f"""
        <tr><th class="text" scope="row"><time datetime="{start.isoformat()}">{start:%-d %b}</time></th>
          <td>2</td><td>0</td><td>1</td><td>1</td></tr>
        """,
    ):
        assertInHTML(html, response.text)
    assert response.text.count("<time ") == 30


def test_unknown_window_is_rejected(client: Client) -> None:
    for path in ("/stats", "/stats/activity.csv", "/stats/submissions.jsonl"):
        for window in ("", "Hour", "<b>"):
            response = client.get(path, {"window": window})

            assert_error_page(response, 400, "Unknown window. Choose one of: hour, day, week, month.")


def test_bars_are_stacked_in_shares_of_the_plot() -> None:
    start = activity.activity("month")[0].start
    none, some = dict.fromkeys(KINDS, 0), dict(zip(KINDS, (4, 0, 1, 10), strict=True))
    buckets = [Bucket(start, some), *(Bucket(start + timedelta(days=day), none) for day in range(1, 30))]

    chart = stats.chart("month", buckets)

    assert [chart[name] for name in ("total", "most", "top")] == [15, 15, 20]
    assert {each["kind"]: (each["total"], each["bars"]) for each in chart["series"]} == {
        "Number": (10, '<rect x="0.4167%" y="50%" width="2.5%" height="50%"/>'),
        "Fizz": (4, '<rect x="0.4167%" y="30%" width="2.5%" height="20%"/>'),
        "Buzz": (0, ""),
        "FizzBuzz": (1, '<rect x="0.4167%" y="25%" width="2.5%" height="5%"/>'),
    }
    assert [f"{label:%d}" for label in chart["labels"]] == [
        f"{start + timedelta(days=day):%d}" for day in (0, 6, 12, 18, 24)
    ]


@pytest.mark.parametrize(
    ("most", "top"), [(0, 2), (1, 2), (3, 4), (9, 10), (10, 20), (99, 100), (401, 600), (10**12 + 1, 2 * 10**12)]
)
def test_top_of_the_axis_is_a_round_number(most: int, top: int) -> None:
    bucket = Bucket(activity.activity("hour")[0].start, {**dict.fromkeys(KINDS, 0), rules.Kind.FIZZ: most})

    assert stats.chart("hour", [bucket])["top"] == top


def test_downloads_contain_the_figures(client: Client) -> None:
    append(15, 7, 15)
    start = activity.activity("month")[-1].start

    top, month = client.get("/stats/most-common.csv"), client.get("/stats/activity.jsonl?window=month")

    assert (top["Content-Type"], top["Content-Disposition"]) == (
        "text/csv; charset=utf-8",
        'attachment; filename="most-common.csv"',
    )
    assert top.text == "rank,number,result,kind,count\n1,15,FizzBuzz,FizzBuzz,2\n2,7,7,Number,1\n"
    assert (month["Content-Type"], month["Content-Disposition"]) == (
        "application/x-ndjson",
        'attachment; filename="activity-month.jsonl"',
    )
    *earlier, last = [json.loads(line) for line in month.text.splitlines()]
    assert len(earlier) == 29
    assert last == {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}", "Fizz": 0, "Buzz": 0, "FizzBuzz": 2, "Number": 1}


def test_downloads_of_submissions_are_the_newest_of_the_window(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    append_at(f"{activity.activity('day')[0].start - timedelta(seconds=1)}", 1, 2)
    append(3, 4, 5)

    def numbers() -> list[str]:
        _, *rows = client.get("/stats/submissions.csv?window=day").text.splitlines()
        return [row.split(",")[1] for row in rows]

    assert numbers() == ["3", "4", "5"]
    monkeypatch.setattr(stats, "MAX_DOWNLOAD_ROWS", 2)
    a_second_later()
    assert numbers() == ["4", "5"]
