from __future__ import annotations

import pytest
from django.test import Client

from fizzbuzz.models import Submission

pytestmark = pytest.mark.django_db

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


@pytest.mark.parametrize("path", ["/", "/numbers/15", "/docs", "/docs/problems", "/nowhere", "/admin/login/"])
def test_pages_are_closed_to_what_is_not_theirs(client: Client, path: str) -> None:
    response = client.get(path)

    assert set(response["Content-Security-Policy"].split("; ")) == set(POLICY.split("; "))
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Permissions-Policy"] == "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


@pytest.mark.parametrize("path", ["/api/", "/api/fizzbuzz", "/api/most_common", "/api/numbers/15"])
def test_browsable_api_has_no_inline_style_or_script(client: Client, path: str) -> None:
    response = client.get(path, headers={"accept": "text/html"})

    assert set(response["Content-Security-Policy"].split("; ")) == set(POLICY.split("; "))
    assert " style=" not in response.text
    assert "<style" not in response.text
    assert "<script>" not in response.text


@pytest.mark.parametrize(
    "path", ["//evil.example", "/admin/login/?next=//evil.example", "/%0d%0aLocation:%20evil.example"]
)
def test_nobody_is_sent_elsewhere(client: Client, path: str) -> None:
    response = client.get(path)

    assert "evil.example" not in response.get("Location", "")


def test_form_from_elsewhere_is_refused() -> None:
    response = Client(enforce_csrf_checks=True).post("/", {"number": "15"})

    assert response.status_code == 403
    assert "Allow cookies, go to the first page, and send it again." in response.text
    assert not Submission.objects.exists()


def test_other_hosts_are_refused(client: Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
