"""The form is accepted only from the service's own pages, according to the browser's headers."""

import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django.asserts import assertInHTML

from fizzbuzz.models import Submission
from tests.marks import commits

pytestmark = commits

DETAIL = "Cross-site submission rejected. This request recorded nothing. Submit the number on this site's first page."


@pytest.fixture
def client() -> Client:
    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize(
    "headers",
    [
        # Chromium, Firefox and Safari, over HTTPS or on localhost
        {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "origin": "http://testserver"},
        {
            "sec-fetch-site": "same-origin",
            "sec-fetch-mode": "cors",
            "origin": "http://testserver",
            "hx-request": "true",
        },
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "origin": "null"},  # a restored tab
        # behind a proxy that terminates TLS, without HTTPS=1
        {"sec-fetch-site": "same-origin", "origin": "https://testserver"},
        # over plain HTTP from another machine
        {"origin": "http://192.168.1.5:8080", "host": "192.168.1.5:8080"},
        # not a browser, or an old one
        {},
        {"referer": "https://evil.example/"},
    ],
    ids=str,
)
def test_form_of_this_site_is_accepted(client: Client, settings: object, headers: dict[str, str]) -> None:
    settings.ALLOWED_HOSTS = ["*"]  # type: ignore[attr-defined]

    response = client.post("/", {"number": "15"}, headers=headers)

    assert response.status_code == (200 if "hx-request" in headers else 303)
    assert Submission.objects.count() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
        {"sec-fetch-site": "same-site", "origin": "http://other.testserver"},
        {"sec-fetch-site": "", "origin": "https://evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "https://testserver"},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://testserver:81"},
        {"origin": "null"},
        {"origin": ""},
    ],
    ids=str,
)
def test_form_of_another_site_is_rejected(client: Client, headers: dict[str, str]) -> None:
    response = client.post("/", {"number": "15"}, headers=headers)

    assert response.status_code == 403
    assertInHTML(f"<p>{escape(DETAIL)}</p>", response.text)
    assert not Submission.objects.exists()


def test_form_is_accepted_behind_a_tls_terminating_proxy(client: Client, settings: object) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # type: ignore[attr-defined]
    headers = {"host": "testserver", "x-forwarded-proto": "https"}

    ours = client.post("/", {"number": "15"}, headers=headers | {"origin": "https://testserver"})
    others = client.post("/", {"number": "15"}, headers=headers | {"origin": "http://testserver"})

    assert (ours.status_code, others.status_code) == (303, 403)


@pytest.mark.django_db
def test_admin_forms_require_a_csrf_token(client: Client) -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "http://testserver"}

    response = client.post("/admin/login/", {"username": "root", "password": "x"}, headers=headers)

    assert response.status_code == 403
    assert "csrftoken" in client.get("/admin/login/").cookies
