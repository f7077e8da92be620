"""The log in the admin: read-only, with bounded queries, and its download."""

import csv
import io
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.asserts import assertInHTML, assertRedirects

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.http.test_http_security import PERMISSIONS, POLICY, SECURITY_HEADERS
from tests.log import create_submissions, open_transaction
from tests.problems import assert_error_page

pytestmark = pytest.mark.django_db

in_database = pytest.mark.django_db(transaction=True)  # a download has its own connection

LOG = "/admin/fizzbuzz/submission/"
DOWNLOAD = f"{LOG}download/"
HEADER = ["id", "number", "result", "kind", "created_at"]


def shown(response: Any) -> list[int]:
    return [row.number for row in response.context["cl"].result_list]


def table(response: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(response.getvalue().decode())))


def test_staff_and_superusers_can_only_view(staff_client: Client, admin_client: Client) -> None:
    (row,) = create_submissions(15)

    for client in (staff_client, admin_client):
        page = client.get(f"{LOG}{row.id}/change/")
        assertInHTML('<div class="readonly">15</div>', page.content.decode())
        assert b'name="number"' not in page.content
        for action in ("add/", f"{row.id}/change/", f"{row.id}/delete/"):
            assert client.post(LOG + action, {"number": "7"}).status_code == 403
        client.post(LOG, {"action": "delete_selected", "_selected_action": [row.id], "post": "yes"})
    assert list(Submission.objects.values_list("id", "number")) == [(row.id, 15)]


@in_database
def test_list_and_download_apply_search_and_filters(staff_client: Client) -> None:
    (old, *_) = create_submissions(3, 5, 15, 7, 150, -3, 0, 15)
    Submission.objects.filter(id=old.id).update(created_at="2026-01-30T23:59:59Z")

    for query, numbers in (
        ({}, [3, 5, 15, 7, 150, -3, 0, 15]),
        ({"q": " +015\u200b "}, [15, 15]),
        ({"kind": "Fizz"}, [3, -3]),
        ({"kind": "FizzBuzz"}, [15, 150, 0, 15]),
        ({"kind": "Number"}, [7]),
        ({"kind": "", "q": "7"}, [7]),
        ({"kind": "Fizz", "q": "+03"}, [3]),
        ({"kind": "Number", "q": "3"}, []),
        ({"created_at__gte": "2026-01-31 00:00:00+00:00"}, [5, 15, 7, 150, -3, 0, 15]),
        ({"created_at__lt": "2026-01-31 00:00:00+00:00"}, [3]),
    ):
        listed = staff_client.get(LOG, query)
        header, *rows = table(staff_client.get(DOWNLOAD, query | {"o": "-1", "p": "1", "all": ""}))

        assert shown(listed) == numbers[::-1]
        assert (header, [row[1] for row in rows]) == (HEADER, [str(number) for number in numbers])
        assert f'<a href="{DOWNLOAD}?{urlencode(query)}">Download CSV</a>' in listed.text.replace("&amp;", "&")


@pytest.mark.parametrize("term", ["x", str(2**63), "<script>"])
def test_search_for_an_invalid_number_shows_a_message(staff_client: Client, term: str) -> None:
    create_submissions(15)

    for path in (LOG, DOWNLOAD):
        response = staff_client.get(path, {"q": term}, follow=True)
        assert (response.status_code, response.request["PATH_INFO"]) == (200, LOG)
        (message,) = response.context["messages"]
        assert str(message).endswith(rules.EXPECTED)
    assert shown(staff_client.get(LOG, {"q": term})) == []


def test_invalid_filters_redirect_to_the_list(staff_client: Client) -> None:
    for query in ("kind=fizz", "kind=%00", "created_at__gte=x", "nothing=1", "number__regex=("):
        assertRedirects(staff_client.get(f"{LOG}?{query}"), f"{LOG}?e=1")
        assertRedirects(staff_client.get(f"{DOWNLOAD}?{query}"), LOG)


def test_lists_take_few_queries_that_do_not_count_or_sort_the_whole_log(staff_client: Client) -> None:
    Submission.objects.bulk_create(Submission(number=3) for _ in range(150))

    for query in ("", "?kind=Fizz", "?q=3", "?p=2", "?o=2"):
        with CaptureQueriesContext(connection) as queries:
            staff_client.get(LOG + query)

        assert len(queries) == 9
        count, rows = [each["sql"] for each in queries if '"fizzbuzz_submission"' in each["sql"]]
        assert re.fullmatch(r"SELECT COUNT\(\*\) FROM \(SELECT .* LIMIT 10000\) subquery", count)
        assert 'ORDER BY "fizzbuzz_submission"."id" DESC LIMIT ' in rows


def test_pages_end_at_the_row_limit(staff_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fizzbuzz.admin.MAX_LISTED_ROWS", 120)
    create_submissions(*range(130))

    response = staff_client.get(f"{LOG}?p=2")

    assert (response.context["cl"].result_count, shown(response)) == (120, list(range(29, 9, -1)))
    note = "The list is limited to 120 submissions. To see others, search or filter it, or download all."
    assertInHTML(f'<p class="paginator">{note}</p>', response.text)
    assertInHTML('<a href="/admin/">FizzBuzz administration</a>', response.text)
    assert note not in staff_client.get(LOG, {"q": "1"}).text


@in_database
def test_download_is_the_log_oldest_first_in_one_query(staff_client: Client, django_assert_num_queries: Any) -> None:
    create_submissions(15, 7, -3)

    # The session, the user, two for the permission, and a bounded count; the rows come on another connection.
    with django_assert_num_queries(5):
        response = staff_client.get(DOWNLOAD)
        downloaded = table(response)

    assert response["Content-Type"] == "text/csv"
    assert response["Content-Disposition"] == 'attachment; filename="submissions.csv"'
    log = Submission.objects.order_by("id")
    rows = [[str(row.id), str(row.number), row.result, row.kind.value, row.created_at_text] for row in log]
    assert downloaded == [HEADER, *rows]


@in_database
def test_concurrent_downloads_are_limited(staff_client: Client) -> None:
    create_submissions(3, 5, 15)
    running = [staff_client.get(DOWNLOAD) for _ in range(2)]

    rejected = staff_client.get(DOWNLOAD)
    for each in (*running, rejected):
        each.close()

    assert (rejected.status_code, rejected["Retry-After"]) == (429, "5")
    assertInHTML("<p>Too many downloads are running at the moment. Try again in 5 s.</p>", rejected.text)
    assert len(table(staff_client.get(DOWNLOAD))) == 4


@pytest.mark.parametrize("path", [LOG, DOWNLOAD])
def test_list_and_download_require_the_view_permission(client: Client, path: str) -> None:
    assertRedirects(client.get(path), f"/admin/login/?next={path}")
    client.force_login(User.objects.create_user("visitor"))
    assertRedirects(client.get(path), f"/admin/login/?next={path}")

    client.force_login(User.objects.create_user("other", is_staff=True))

    detail = "Your account may not do this. Sign in with another account, or contact the operator."
    assert_error_page(client.get(path), 403, detail)


@in_database
def test_list_timeout_shows_a_message(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fizzbuzz.admin.LIST_TIMEOUT_SECONDS", 0.1)
    with open_transaction() as other:
        other.execute("LOCK TABLE fizzbuzz_submission IN ACCESS EXCLUSIVE MODE")
        response = admin_client.get(LOG, follow=True)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10ms'")
        by_another_timeout = admin_client.get(LOG)
    connection.close()

    assert response.redirect_chain == [("/admin/", 302)]
    assert [str(message) for message in response.context["messages"]] == [
        "The query took longer than 0.1 s. Search for one number or choose a shorter time."
    ]
    assert by_another_timeout.status_code == 503


def test_pages_have_strict_security_headers(admin_client: Client) -> None:
    row, log = Submission.objects.create(number=15), LOG.removeprefix("/admin/")
    expected = SECURITY_HEADERS | {"Strict-Transport-Security": None, "Permissions-Policy": PERMISSIONS}

    for path in ("", "auth/user/", "auth/user/add/", "password_change/", log, f"{log}{row.id}/change/"):
        response: Any = admin_client.get(f"/admin/{path}")

        assert response.status_code == 200
        assert set(response["Content-Security-Policy"].split("; ")) == POLICY
        assert {name: response.headers.get(name) for name in expected} == expected
        assert not re.search(r"<style|<script>| style=| on\w+=|javascript:", response.text)
