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
    prefix = "access-control-"
    return {name.lower(): value for name, value in response.headers.items() if name.lower().startswith(prefix)}


@pytest.mark.parametrize(
    "path",
    ["/api/", "/api/numbers/15", "/api/nowhere", "/", "/numbers/15", "/info", "/metrics", "/docs", "/admin/", "/apis"],
)
def test_allowed_origin_can_read_only_the_api(shared: Client, path: str) -> None:
    response = shared.get(path, headers={"origin": FRIEND})

    readable = {"access-control-allow-origin": FRIEND, "access-control-expose-headers": EXPOSED}
    assert cors(response) == (readable if path.startswith("/api/") else {})
    assert ("origin" in response.get("Vary", "")) == path.startswith("/api/")


@pytest.mark.parametrize("origin", ["https://friend.example.evil.example", "null", "["])
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


def test_no_origin_can_read_without_cors_origins(client: Client) -> None:
    response = client.get("/api/numbers/15", headers={"origin": FRIEND})

    assert cors(response) == {}
    assert "origin" not in response["Vary"].lower()
