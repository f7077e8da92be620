"""The form is accepted only from the service's own pages, according to the browser's headers."""

from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django.asserts import assertInHTML

from fizzbuzz.models import Submission
from tests.marks import commits

pytestmark = commits

DETAIL = "Cross-site submission rejected. This request recorded nothing. Submit the number on this site's first page."
OURS = [
    # Chromium, Firefox and Safari, over HTTPS or on localhost
    {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "origin": "http://testserver"},
    {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "origin": "http://testserver", "hx-request": "true"},
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "origin": "null"},  # a restored tab
    {"sec-fetch-site": "same-origin", "origin": "https://testserver"},  # behind a proxy for TLS, without HTTPS=1
    {"origin": "http://192.168.1.5:8080", "host": "192.168.1.5:8080"},  # over plain HTTP from another machine
    {"origin": "https://testserver", "host": "testserver", "x-forwarded-proto": "https"},  # with HTTPS=1
    {},  # not a browser, or an old one
    {"referer": "https://evil.example/"},
]
OTHERS = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
    {"sec-fetch-site": "same-site", "origin": "http://other.testserver"},
    {"sec-fetch-site": "", "origin": "https://evil.example"},
    {"origin": "https://evil.example"},
    {"origin": "https://testserver"},
    {"origin": "http://testserver", "host": "testserver", "x-forwarded-proto": "https"},
    {"origin": "http://testserver.evil.example"},
    {"origin": "http://testserver:81"},
    {"origin": "null"},
    {"origin": ""},
]


@pytest.fixture
def client(settings: Any) -> Client:
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_form_of_this_site_is_accepted(client: Client, headers: dict[str, str]) -> None:
    response = client.post("/", {"number": "15"}, headers=headers)

    assert response.status_code == (200 if "hx-request" in headers else 303)
    assert Submission.objects.count() == 1


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_form_of_another_site_is_rejected(client: Client, headers: dict[str, str]) -> None:
    response = client.post("/", {"number": "15"}, headers=headers)

    assert response.status_code == 403
    assertInHTML(f"<p>{escape(DETAIL)}</p>", response.text)
    assert not Submission.objects.exists()


@pytest.mark.django_db
def test_admin_forms_require_a_csrf_token(client: Client) -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "http://testserver"}

    response = client.post("/admin/login/", {"username": "root", "password": "x"}, headers=headers)

    assert response.status_code == 403
    assert "csrftoken" in client.get("/admin/login/").cookies
