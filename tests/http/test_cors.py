from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db

FRIEND = "https://friend.example"
EXPOSED = "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, Warning, X-Request-ID"


@pytest.fixture
def shared(settings: Any) -> Client:
    """Return a client of a service that allows one other origin to read its API."""
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    return Client()


def cors(response: Any) -> dict[str, str]:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", ["/api/", "/api/fizzbuzz", "/api/numbers/15", "/api/most_common", "/api/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_allowed_origin_can_read_the_api(shared: Client, method: str, path: str) -> None:
    response = shared.generic(method, path, headers={"origin": FRIEND})

    assert cors(response) == {"access-control-allow-origin": FRIEND, "access-control-expose-headers": EXPOSED}
    assert "origin" in response["Vary"]


@pytest.mark.parametrize("path", ["/", "/numbers/15", "/info", "/metrics", "/docs", "/admin/login/", "/apis"])
def test_allowed_origin_can_read_only_the_api(shared: Client, path: str) -> None:
    assert cors(shared.get(path, headers={"origin": FRIEND})) == {}


@pytest.mark.parametrize(
    "origin",
    [
        "http://friend.example", "https://friend.example:8443", "https://friend.example.evil.example",
        "https://evil.friend.example", "null", "", "[",
    ],
)  # fmt: skip
def test_other_origins_cannot_read(shared: Client, origin: str) -> None:
    response = shared.get("/api/numbers/15", headers={"origin": origin})

    assert (response.status_code, cors(response)) == (200, {})


def test_preflight_does_not_allow_json(shared: Client) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}

    preflight = shared.options("/api/fizzbuzz", headers={"origin": FRIEND, **wanted})

    assert cors(preflight) == {
        "access-control-allow-origin": FRIEND,
        "access-control-allow-headers": "if-none-match",
        "access-control-allow-methods": "GET, HEAD, OPTIONS",
        "access-control-expose-headers": EXPOSED,
        "access-control-max-age": "86400",
    }


def test_star_allows_all_origins_without_credentials(shared: Client, settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = True

    response = shared.get("/api/numbers/15", headers={"origin": "https://anybody.example"})

    assert cors(response) == {"access-control-allow-origin": "*", "access-control-expose-headers": EXPOSED}


def test_no_origin_can_read_without_cors_origins(client: Client) -> None:
    response = client.get("/api/numbers/15", headers={"origin": FRIEND})

    assert cors(response) == {}
    assert "origin" not in response["Vary"].lower()
