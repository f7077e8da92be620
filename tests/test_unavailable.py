from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from django.db import connection
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import recording
from fizzbuzz.models import Submission

pytestmark = pytest.mark.django_db(transaction=True)

DETAIL = "The database can't be reached right now. Try again in a moment."


@pytest.fixture
def ended_connection() -> Iterator[None]:
    """PostgreSQL has ended the connection, as it does when it is stopped, and nobody here knows yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        assert cursor.fetchone() == (True,)
    yield
    connection.close()


@pytest.mark.usefixtures("ended_connection")
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/fizzbuzz/batch"), ("GET", "/api/fizzbuzz"), ("GET", "/api/numbers/7")]
)
def test_api_answers_503(client: Client, method: str, path: str) -> None:
    response = client.generic(method, path, '{"numbers": [15, 16]}', "application/json")

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert response["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": DETAIL,
        "instance": path,
    }
    connection.close()
    assert not Submission.objects.exists()


@pytest.mark.usefixtures("ended_connection")
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/numbers/7"), ("GET", "/info")])
def test_pages_answer_503(client: Client, method: str, path: str) -> None:
    response = client.generic(method, path)

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assertInHTML(f"<p>{DETAIL}</p>".replace("'", "&#x27;"), response.text)


@pytest.mark.parametrize("path", ["/", "/api/fizzbuzz"])
def test_submission_answers_503(client: Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as nobody_listens:
        nobody_listens.setitem(connection.settings_dict, "PORT", "1")
        response = client.post(path, "number=15", "application/x-www-form-urlencoded")

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert not Submission.objects.exists()


def test_submission_notices_that_its_connection_was_ended(client: Client) -> None:
    (before,) = recording.record([15], "api")
    with connection.cursor() as cursor:
        pid = recording.writer._ready().info.backend_pid
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    (after,) = recording.record([15], "api")

    assert list(Submission.objects.order_by("id")) == [before, after]


@pytest.mark.usefixtures("ended_connection")
def test_next_request_finds_the_database_again(client: Client) -> None:
    lost = client.get("/api/fizzbuzz")
    connection.close_if_unusable_or_obsolete()  # as at the end of each request outside of tests
    found = client.get("/api/fizzbuzz")

    assert (lost.status_code, found.status_code) == (503, 200)
