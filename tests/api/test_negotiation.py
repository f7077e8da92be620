"""The header Accept decides between JSON and a browsable page; programs get JSON."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

HTML, JSON = "text/html; charset=utf-8", "application/json"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", JSON),
        (" ", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json, text/plain, */*", JSON),  # of axios
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),  # of Java
        ("text/html;q=0, */*", JSON),
        ("text/html;q=0.8, application/json", JSON),
        ("text/html, application/json", JSON),
        ("text/*;q=0.5, application/*", JSON),
        ("text/html;q=2", JSON),
        ("x", JSON),
        (",", JSON),
        (CHROME, HTML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),  # of Firefox and Safari
        ("text/html; q=1.0, */*", HTML),  # of the script of browsable pages
        ("text/html", HTML),
        ("text/html, application/json;q=0.9", HTML),
        ("application/json;q=0, */*;q=0.1", HTML),
        ("text/*", HTML),
    ],
)
def test_accept_selects_the_format(client: Client, accept: str, content_type: str) -> None:
    response = client.get("/api/fizzbuzz", headers={"accept": accept})

    assert (response.status_code, response["Content-Type"]) == (200, content_type)


def test_json_is_indented_on_request(client: Client) -> None:
    response = client.get("/api/", headers={"accept": "application/json; indent=2; q=0.9"})

    assert response.text.startswith('{\n  "most_common": ')


@pytest.mark.parametrize(("format_", "status"), [("json", 200), ("api", 200), ("xml", 404), ("JSON", 404)])
def test_parameter_selects_the_format(client: Client, format_: str, status: int) -> None:
    response = client.get("/api/numbers/15", {"format": format_}, headers={"accept": "*/*"})

    assert response.status_code == status
